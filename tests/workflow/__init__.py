"""Workflows: what is compiled, what the server and the workers make of it."""
