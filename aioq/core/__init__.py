"""Pure values and decisions: no I/O, no event loop, no Redis.

Everything above imports from here; this package imports nothing of ours.
"""
