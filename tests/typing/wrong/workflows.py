"""Workflows taken for what they are not: every line marked so must be rejected."""

from aioq import Aioq, GroupWorkflow, Workflow, chain, chord, group

app = Aioq()


def use(*values: object) -> None: ...


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def name(x: int) -> str:
    return str(x)


async def results() -> None:
    steps = await (add.s(1) | name.s()).enqueue()
    number: int = await steps.result()  # error
    other: Workflow[int] = await chain(add.s(1), name.s()).enqueue()  # error
    many: GroupWorkflow[str] = await group(add.s(1), add.s(2)).enqueue()  # error
    body: int = await (await chord([add.s(1)], name.s()).enqueue()).result()  # error
    use(number, other, many, body)
    use(steps.completed_count())  # error


def wrong_parts() -> None:
    use(group(add, name))  # error
    use(chain(add.s(1), 2))  # error
    use(add.s(1) | 2)  # error
    use(group(add.s(1), on_failure="ignore"))  # error
    use(add.si())  # error
    use(add.si("1"))  # error
    use(add.s(1).on_error(add.s(1) | add.s(2)))  # error
    use(add.s(1).set(countdwn=3))  # error
