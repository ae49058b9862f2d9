"""The operators' port, served by the supervisor: health and metrics.  The screen comes later."""
