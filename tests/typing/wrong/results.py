"""Results taken for what they are not, and coroutines taken for results."""

from aioq import Aioq, Job

app = Aioq()


def use(*values: object) -> None: ...


@app.task
async def add(x: int) -> int:
    return x


@app.task
def render(x: int) -> bytes:
    return bytes(x)


async def results() -> None:
    job = await add.enqueue(1)
    text: str = await job.result()  # error
    other: Job[str] = job  # error
    use(text, other)
    use(job.reslt())  # error
    use(job.id + 1)  # error
    many = await add.enqueue_many([(1,)])
    use(many.id)  # error


async def coroutines() -> None:
    add.enqueue(1)  # error
    use(add.enqueue(1).id)  # error
    use(add(1) + 1)  # error
    await render(1)  # error
    await add.enqueue_sync(1)  # error
    number: int = render(1)  # error
    use(number)
