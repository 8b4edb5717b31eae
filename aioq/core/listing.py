"""What listings return: an async iterator that can also be awaited for a list.

Nothing is asked before it is used, and each use asks anew.
"""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Listing(Generic[T]):
    """`async for item in listing`, or `items = await listing`.

    Args:
        read: reads the items from the beginning, page by page.
    """

    def __init__(self, read: Callable[[], AsyncIterator[T]]) -> None:
        self._read = read

    def __aiter__(self) -> AsyncIterator[T]:
        return self._read()

    def __await__(self) -> Generator[Any, Any, list[T]]:
        return self._collect().__await__()

    async def _collect(self) -> list[T]:
        return [item async for item in self._read()]
