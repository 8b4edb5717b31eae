"""The peers of aioq under the same harness: `python -m benchmarks.peers`."""
