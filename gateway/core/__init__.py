"""Pure rules: no await, no clock, no random, no I/O.  Imports each other, the standard library's pure part and msgspec."""
