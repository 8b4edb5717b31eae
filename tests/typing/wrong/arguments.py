"""Arguments that do not fit the task: every line marked so must be rejected."""

from aioq import CONTEXT, Aioq, Context

app = Aioq()


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
def render(name: str, *, width: float) -> bytes:
    return name.encode()


@app.task(bind=True)
async def pay(self: Context, order: int) -> str:
    return self.job_id


@app.task(queue="mail")
async def send(to: str, ctx: Context = CONTEXT) -> None: ...


async def enqueueing(context: Context) -> None:
    await add.enqueue()  # error
    await add.enqueue("1")  # error
    await add.enqueue(1, 2, 3)  # error
    await add.enqueue(1, z=2)  # error
    await add.enqueue(1, x=2)  # error
    await add.delay("1")  # error
    await add.options(countdown=3).enqueue("1")  # error
    await render.enqueue("x")  # error
    await render.enqueue("x", 3)  # error
    await pay.enqueue(context, 1)  # error
    await pay.enqueue("1")  # error
    await send.enqueue("a", 3)  # error
    await add.enqueue_many([1, 2])  # error


def plain_calls() -> None:
    add("1")  # error
    render("x", width="wide")  # error
    add.enqueue_sync()  # error
