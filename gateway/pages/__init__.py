"""Pages for people: pure renderers.  No await, no clock, no I/O but their own files, read once at import."""
