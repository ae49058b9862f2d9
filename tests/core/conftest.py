"""Hypothesis for all: the same examples every time, so that a red test is red on every machine."""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=150)
settings.load_profile("steady")
