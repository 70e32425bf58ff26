"""The process that looks into files: `python -m connectors.screening.worker`. One file after the other, on pipes.

A request is a line of JSON (name, size, limits) and the file's bytes; the answer is a line of JSON, a list of codes.
What a hostile file does to it, to its memory or its time, ends with it: the parent kills it and starts another.
"""

import json
import sys
from contextlib import suppress

from connectors.screening.inspection import Limits, inspect

MEMORY_BYTES = 1 << 30  # of address space; the largest file there is, its unpacked parts and Python itself


def main() -> None:
    """Answer until the parent closes the pipe."""
    _limit_memory()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size_bytes"])
        answers.write(json.dumps(inspect(content, request["name"], Limits(**request["limits"]))).encode() + b"\n")
        answers.flush()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit; an administrator may have set a lower
        import resource  # noqa: PLC0415 - not there on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
