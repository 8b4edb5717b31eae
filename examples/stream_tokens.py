"""Stream the words of a task as they come: two readers, a late one, and a run that is started anew.

    python examples/stream_tokens.py

Everything happens here: an embedded server, and a worker in this event loop.
"""

import asyncio
from collections.abc import AsyncIterator

from aioq import CONTEXT, Aioq, Context, ItemStream, StreamRestarted
from aioq.testing import running

app = Aioq(name="stories")
ANSWERS = {"What do streams keep?": "Streams keep their order ."}
read_so_far = asyncio.Event()


@app.task
async def answer(question: str) -> AsyncIterator[str]:
    """Say it word by word, as a language model does."""
    for word in ANSWERS[question].split():
        await asyncio.sleep(0.01)
        yield word


@app.task(autoretry_for=(ConnectionError,), default_retry_delay=0)
async def interrupted(ctx: Context = CONTEXT) -> AsyncIterator[str]:
    """Lose the line in the first run, when its reader has heard half of it."""
    yield "half"
    if ctx.request.retries == 0:
        await read_so_far.wait()
        raise ConnectionError("the line is gone")
    yield "whole"


async def read(stream: ItemStream[str]) -> str:
    """Return the text, without what an earlier run had said."""
    text: list[str] = []
    while True:
        try:
            async for word in stream:
                text.append(word)
                read_so_far.set()
        except StreamRestarted as restarted:
            print(f"started anew after {text}: generation {restarted.generation}")
            text.clear()
        else:
            return " ".join(text)


async def main() -> None:
    """Run it."""
    async with running(app):
        job = await answer.enqueue("What do streams keep?")
        first, second = await asyncio.gather(read(job.stream()), read(job.stream()))
        print(f"two readers:  {first} {second == first}")

        stream = job.stream()
        print(f"a late one:   {await anext(stream)} {await anext(stream)}, up to {stream.position}")
        print(f"going on:     {await read(job.stream(after=stream.position))}")

        print(f"in the end:   {await read((await interrupted.enqueue()).stream())}")


if __name__ == "__main__":
    asyncio.run(main())
