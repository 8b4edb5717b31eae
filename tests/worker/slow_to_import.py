"""A module whose import takes longer in a child process than its task may."""

import sys
import time

from aioq import Aioq, Settings

if sys.argv[0] == "-c":  # a child's interpreter
    time.sleep(1.2)

app = Aioq(name="slow", settings=Settings(process_workers=1))


@app.task(executor="process", time_limit=1)
def quick() -> str:
    return "quick"
