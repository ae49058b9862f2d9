"""What the operators' screen promises, measured on a real gateway; see bench_screen.py.

gateway    a gateway with a line, its operators' port, and one viewer that notes when each frame came
lights     a: faults of Redis, Kafka and a worker, until the screen says so and until it is green again
crowd      b, c: a thousand viewers, and viewers that come and go
viewers    those viewers, in a process of their own
line       d: how old and how right the depth is under a crowd
truth      the depth that Redis itself has, read without a trace
lever      e: from the operator's word to the last worker
report     what follows from the figures  (pure)
"""
