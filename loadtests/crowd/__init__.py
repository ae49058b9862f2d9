"""The generator: who comes when (shapes), what each does (users), over which sockets (sender).  locustfile.py wires it."""
