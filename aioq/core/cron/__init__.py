"""When a schedule is due: `crontab(...)` and `every(...)`, pure values that know no present.

A crontab speaks of a wall clock, and wall clocks are changed.  Two rules say what then
happens, and `*` or `/` in the minute or the hour decides which one holds.  Seconds, days
and months have no say in it.

- **A fixed time** (no `*`, no `/`: `hour=2, minute=30`, `hour="1-3", minute=[0, 30]`) is meant
  to happen once on each of its days.  If the change skips it, it is due at the first valid
  instant, where it coincides with all others that are due there.  If the change repeats it,
  only the first one counts.
- **A pattern** (`hour="*", minute=0`, `minute="*/30"`, `hour="8-18/2"`) is due at every instant
  at which the wall clock fits.  Elapsed time counts: a repeated hour is served twice, a
  skipped one not at all, and `*/30` comes every 30 minutes throughout.

In Europe/Paris 02:00-03:00 is skipped in March, and repeated in October:

| schedule               | rule    | 02:00-03:00 skipped | 02:00-03:00 repeated             |
|------------------------|---------|---------------------|----------------------------------|
| `hour=2, minute=30`    | fixed   | once, at 03:00      | the first 02:30                  |
| `hour=2, minute=[0,30]`| fixed   | once, at 03:00      | the first 02:00, the first 02:30 |
| `hour="1-3", minute=0` | fixed   | 01:00, 03:00        | 01:00, the first 02:00, 03:00    |
| `hour="*", minute=0`   | pattern | 01:00, 03:00        | 01:00, 02:00, 02:00, 03:00       |
| `minute="*/30"`        | pattern | every 30 minutes    | every 30 minutes                 |
| `hour=2, minute="*/30"`| pattern | not on this day     | 02:00, 02:30, 02:00, 02:30       |

The size and the hour of a change do not matter: half an hour in Australia/Lord_Howe, midnight
in Africa/Cairo, all of 2011-12-30 in Pacific/Apia.  `every(...)` never looks at a wall clock.
"""

from aioq.core.cron.schedule import Crontab, Every, Schedule, crontab, every

__all__ = ["Crontab", "Every", "Schedule", "crontab", "every"]
