"""Rehearsals: people in virtual time over the pure rules, and over HTTP against the real thing."""
