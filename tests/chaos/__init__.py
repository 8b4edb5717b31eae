"""Process chaos: real workers, producers and a real server, which are killed, frozen and cut off.

A seeded schedule injects the faults, a journal and the server's own log of writes say what really
happened, and the checker compares that with the guarantees.
"""
