"""Limits across processes that are killed: what they allow, and that nothing of them leaks."""
