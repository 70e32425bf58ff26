"""`okno demo` as a newcomer meets it: a process, a screen, Ctrl-C."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHANNELS = ("email", "sms", "telegram", "kiosk", "fax")
START_S = 90.0
STOP_S = 45.0
POLL_S = 0.1
LINE = re.compile(r"^\d\d:\d\d:\d\d  \d{3}-\d{3}-\d{4}  (\w+) +(\w+)")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One `okno demo`, its output in a file."""

    process: subprocess.Popen[bytes]
    output: Path

    def screen(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[str], bool]) -> str:
        """Poll the screen until the condition holds; return what is on it."""
        deadline = time.monotonic() + START_S
        while not condition(screen := self.screen()):
            assert self.process.poll() is None, f"it ended:\n{screen}"
            assert time.monotonic() < deadline, screen
            time.sleep(POLL_S)
        return screen

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)


@pytest.fixture
def start(tmp_path: Path):
    """Start demos; they are gone after the test."""
    demos: list[Demo] = []

    def start_demo(*options: str) -> Demo:
        output = tmp_path / f"screen{len(demos)}"
        command = [sys.executable, "-m", "okno", "demo", "--data", str(tmp_path / "data"), *options]
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=tmp_path)
        demos.append(Demo(process=process, output=output))
        return demos[-1]

    yield start_demo
    for demo in demos:
        demo.process.kill()
        demo.process.wait()


def test_a_newcomer_sees_every_channel_and_stops_it_cleanly(start, tmp_path: Path):
    """Addresses, log-ins and a line for each of five channels appear in 80 columns; Ctrl-C ends it with 0, data kept.

    A second demo on the same data says why it cannot start.
    """
    demo = start("--rate", "5", "--port", "0")

    def all_channels(screen: str) -> bool:
        return {found[1] for line in screen.splitlines() if (found := LINE.match(line))} >= set(CHANNELS)

    screen = demo.wait_for(all_channels)
    for words in (
        "Agents' console",
        "anna",
        "password okno-demo-2026",
        "/status",
        "curl smtp://",
        "Ctrl-C",
        "/metrics",
    ):
        assert words in screen
    for channel in CHANNELS:
        assert f"Channel {channel} " in screen
    assert max(len(line) for line in screen.splitlines() if LINE.match(line)) <= 80
    second = start("--port", "0")
    assert second.process.wait(START_S) == 2
    assert "another okno" in second.screen()
    assert demo.interrupt() == 0
    screen = demo.screen()
    assert "everything is kept in" in screen
    for noise in ("Traceback", "Cannot connect", "could not write", "internal error", '"level"', "Exception"):
        assert noise not in screen
    assert (tmp_path / "data" / "okno.db").stat().st_size > 0


def test_without_traffic_nothing_is_sent(start):
    """With --no-traffic it starts, sends nothing, and takes a mail by the words on its screen."""
    demo = start("--no-traffic", "--port", "0")
    screen = demo.wait_for(lambda screen: "Ctrl-C stops" in screen)
    port = re.search(r"curl smtp://127\.0\.0\.1:(\d+)", screen)
    assert port is not None
    with socket.create_connection(("127.0.0.1", int(port[1])), timeout=START_S) as wire:
        file = wire.makefile("rb")
        assert file.readline().startswith(b"220")
    assert demo.interrupt() == 0
    assert not [line for line in demo.screen().splitlines() if LINE.match(line)]


def test_a_port_in_use_is_said_in_one_line(start):
    """If somebody listens on the port, one line says so and the exit code is 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = start("--no-traffic", "--port", str(taken.getsockname()[1]))
        assert demo.process.wait(START_S) == 2
    assert "cannot listen on 127.0.0.1:" in demo.screen()
    assert "Traceback" not in demo.screen()
