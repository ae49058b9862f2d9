"""A million people in virtual time, over the gateway's own pure functions: the one place in loadtests that may import them."""
