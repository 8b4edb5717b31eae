"""How fast aioq is, measured against the shortest honest Redis Streams loop and against its peers.

`python -m benchmarks` answers the speed budgets; `python -m benchmarks.peers` stands beside others.
Linux only: CPU and memory of the processes are read from /proc.
"""
