"""Options that do not exist, are not served yet, or have the wrong type."""

from datetime import timedelta

from aioq import Aioq, Context, Settings, TokenBucket, task

app = Aioq(nonsense=1)  # error
Aioq(settings=Settings(leese=3))  # error
Aioq(settings=Settings(lease="long"))  # error
Aioq(settings=Settings(log_level="loud"))  # error


@app.task(que="mail")  # error
async def first() -> None: ...


@app.task(priority="high")  # error
async def second() -> None: ...


@app.task(max_concurrency="10")  # error
async def third() -> None: ...


@app.task(rate_limit=TokenBucket("10/m"))  # error
async def paced() -> None: ...


@app.task(fair_by="tenant")  # error
async def fair() -> None: ...


@app.task(executor="gpu")  # error
async def fourth() -> None: ...


@app.task(autoretry_for=(3,))  # error
async def fifth() -> None: ...


@app.task(time_limit="5m")  # error
async def limited() -> None: ...


@app.task(soft_time_limit=timedelta(minutes=5))  # error
async def limited_softly() -> None: ...


@app.task(max_crashes="3", acks_late="no")  # error
async def crashing() -> None: ...


@task(nonsense=True)  # error
async def sixth() -> None: ...


@app.task(bind=True)  # error
async def seventh(x: int) -> None: ...


@app.task(bind=True)  # error
async def eighth() -> None: ...


@app.task
async def add(x: int) -> int:
    return x


async def calls(context: Context) -> None:
    await add.options(countdown="5").enqueue(1)  # error
    await add.options(max_retries=3).enqueue(1)  # error
    await add.apply_async(args=(1,), countdwn=1)  # error
    add.s(1).set(nonsense=1)  # error
    await app.send_task("x", nonsense=1)  # error
    await context.progress("half")  # error
    if context.cancel_reason == "timeout":  # error
        return
    context.snooze("long")  # error
