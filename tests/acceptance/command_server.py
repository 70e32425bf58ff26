"""Runs `okno` commands as processes that need not import everything again: forked from one that has.

Started by `CommandServer` as a script; reads one request a line from its standard input's descriptor and writes one
exit code a line. Nothing has begun in it, no thread and no loop, so a forked child is what a fresh process would be.
"""

import json
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Self


class CommandServer:
    """Use as a context manager."""

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, words: list[str], *, cwd: Path, env: dict[str, str], files: tuple[Path, Path, Path]) -> int:
        """Run one command with `files` as standard input, output and error; return its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"words": words, "cwd": str(cwd), "env": env, "files": [str(file) for file in files]}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve() -> None:
    cli = import_module("okno.cli")
    for module in pkgutil.iter_modules(import_module("okno.commands").__path__):
        import_module(f"okno.commands.{module.name}")
    with os.fdopen(os.dup(0), "rb", buffering=0) as requests:
        for line in iter(requests.readline, b""):
            child = os.fork()
            if child == 0:
                _become(json.loads(line))
                cli.main()
                sys.exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os.write(1, f"{status}\n".encode())


def _become(request: dict[str, Any]) -> None:
    stdin, stdout, stderr = request["files"]
    for number, (path, flags) in enumerate(
        ((stdin, os.O_RDONLY), (stdout, os.O_WRONLY | os.O_CREAT), (stderr, os.O_WRONLY | os.O_CREAT))
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["okno", *request["words"]]


if __name__ == "__main__":
    _serve()
