"""Names that do not exist."""

import aioq
from aioq import Nonsense  # error


def use(*values: object) -> None: ...


use(Nonsense)  # error
use(aioq.nonsense)  # error
use(aioq.Job.nonsense)  # error
use(aioq.JobState.DONE)  # error
