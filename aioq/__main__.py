"""The command `aioq`, also as `python -m aioq`."""

from aioq.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
