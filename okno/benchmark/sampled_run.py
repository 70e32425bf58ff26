"""`okno run` with a sampler in it: where the daemon spends its processor time, by stage.

Only the benchmark starts it. The system's profiling timer interrupts every 10 ms of processor time, and the handler
notes the stage of the innermost frame that belongs to one. What runs in SQLAlchemy's greenlets has lost its caller and
counts as `database`. (A sampling thread would be unfair: it gets its turn mostly where SQLite or a socket give it up.)
"""

import json
import os
import signal
import sys
from collections import Counter
from types import FrameType

INTERVAL_S = 0.01  # of processor time
STAGES = {  # part of a file's path -> stage
    "appeals/intake": "intake: registering",
    "appeals/registration_group": "intake: registering",
    "connectors/email/smtp": "SMTP dialogue",
    "aiosmtpd/": "SMTP dialogue",
    "connectors/email/": "reading mail: parsing, envelope",
    "classifier/": "classifier: texts and commits",
    "router/": "router: decisions and commits",
    "agent_console/": "console: websocket",
    "okno/sweeper": "sweeper",
}


def stage_of(frame: FrameType | None) -> str:
    """Return the stage of a stack: of the innermost frame that belongs to one."""
    seen_database = seen_loop = False
    while frame is not None:
        path = frame.f_code.co_filename.replace(os.sep, "/")
        for part, stage in STAGES.items():
            if part in path:
                return stage
        seen_database = seen_database or "sqlalchemy" in path or "appeals/sqlite" in path
        seen_loop = seen_loop or "uvloop" in path or "asyncio" in path
        frame = frame.f_back
    if seen_database:
        return "database"
    if not seen_loop:
        return "starting"
    return "event loop, logs, queues"


def main() -> None:
    """Run the command line after the first argument, which names the file for the counts."""
    report = sys.argv.pop(1)
    from okno.cli import main as run_command_line  # noqa: PLC0415 - a spawned child imports this module too

    counts: Counter[str] = Counter()

    def count(_signal: int, frame: FrameType | None) -> None:
        counts[stage_of(frame)] += 1

    signal.signal(signal.SIGPROF, count)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    try:
        run_command_line()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - at the very end, nothing else is needed
            json.dump(counts, file)


if __name__ == "__main__":
    main()
