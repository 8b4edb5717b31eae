"""Many producers and workers in one process, on the real scripts and a real server.

Each simulated process keeps the protocol of the real one (`worker.py` names, rule by rule, the
file of aioq that it follows), as generators that take turns.  A seeded generator of random numbers
chooses whose turn it is and what goes wrong: requests and replies are lost, doubled, or come much
too late; processes crash, freeze, stall or are cut off; the clock jumps; the server forgets its
scripts, is full, or is killed and comes back from a torn log.  Among the jobs are some with limits,
some of schedules, and some of queues that are paused.  Nothing waits for real time, so a
thousand seconds pass in five.

`history.py` sees each call at the moment the server executes it, so it knows what must be true,
and `audit.py` compares that with all that is stored, every 50 steps.  A failure prints its seed and
the last steps; the same run again, with a longer trace:

    .venv/bin/python -m tests.simulation --seed 7 --steps 10000 --trace 200

| | what is checked |
|---|---|
| I1 | a job whose enqueue was acknowledged is never lost |
| I2 | one accepted completion per delivery, one last state per job |
| I3 | a job that has ended does not run again, unless it is replayed |
| I4 | a job overlaps itself only where its worker was frozen or cut off for a lease |
| I5 | each delivery has a token of its own, larger than the last |
| I6 | an enqueue, however often sent, makes one job; no delivery is of an unknown one |
| G7 | no job starts over its limits: never more than there are slots, nor more in any window than \
the rate allows, whatever was lost, crashed or frozen |
| G8 | each occurrence of a schedule is fired once, in its turn, and is one job |
| I10 | no job starts before it is due, or after it expired |
| I13 | retries count errors, crashes count deaths of the worker, and nothing else does |
| I14 | records and indexes tell the same story |
| I15 | an empty system keeps nothing but constant keys |
| L1 | once the faults stop, all work is done: no slot is leaked, no gate forgotten |
| L2 | no job waits for long while a worker that is well has room |
"""
