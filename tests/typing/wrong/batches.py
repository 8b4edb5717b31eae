"""A batch task takes one item per job, and its function a list."""

from aioq import Aioq

app = Aioq()


@app.batch_task(size=10)
async def index(pages: list[str]) -> list[int]:
    return [len(page) for page in pages]


@app.batch_task()  # error
async def one(page: str) -> list[int]:
    return [len(page)]


@app.batch_task()  # error
async def nothing(pages: list[str]) -> None: ...


@app.batch_task(size="10")  # error
async def sized(pages: list[str]) -> list[int]:
    return [len(page) for page in pages]


async def calls() -> None:
    await index.enqueue(["a"])  # error
    await index.enqueue("a", "b")  # error
    await index.enqueue(pages="a")  # error
    await index("a")  # error
    length: str = await (await index.enqueue("a")).result()  # error
    await index.enqueue(length)
