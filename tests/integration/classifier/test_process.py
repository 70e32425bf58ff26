"""The predicting process: one, replaced when it dies, gone when the daemon is, and no weight on the daemon."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appeals.errors import ConfigurationError, PermanentError, TransientError
from classifier import process
from classifier.model_file import read_model_file, write_model_file
from classifier.process import ClassifierProcess
from config.taxonomy import Taxonomy
from tests.integration.classifier import deadly

ROOT = Path(__file__).parents[3]
DEADLINE_S = 20.0

DAEMON = """
import asyncio, sys
from pathlib import Path
from classifier.model_file import read_model_file, write_model_file
from classifier.process import ClassifierProcess
from config.taxonomy import load_taxonomy

async def main() -> None:
    async with ClassifierProcess(Path(sys.argv[1]), priorities=load_taxonomy().priorities) as classifier:
        said = await classifier.predict(["no heating"])
        print("SAID", said[0].topic, "sklearn" in sys.modules, "numpy" in sys.modules, *classifier._pool._processes, flush=True)
        await asyncio.to_thread(sys.stdin.readline)

if __name__ == "__main__":
    asyncio.run(main())
"""


def child_of(classifier: ClassifierProcess) -> int:
    assert classifier._pool is not None
    (pid,) = classifier._pool._processes
    return pid


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def said_by(daemon: subprocess.Popen[str]) -> list[str]:
    assert daemon.stdout is not None
    return next(line.split()[1:] for line in daemon.stdout if line.startswith("SAID"))


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


async def test_predicts_in_another_process(model_file: Path, taxonomy: Taxonomy) -> None:
    """Answers come from one other process, in order, for many callers at once, and for none and huge texts."""
    async with ClassifierProcess(model_file, priorities=taxonomy.priorities) as classifier:
        assert child_of(classifier) != os.getpid()
        assert await classifier.predict([]) == []
        batches = [["the radiator is cold", "potholes everywhere"], ["x" * 5_000_000], ["\ud800\0", ""]] * 4
        answers = await asyncio.gather(*(classifier.predict(batch) for batch in batches))
        assert [len(answer) for answer in answers] == [len(batch) for batch in batches]
        assert [said.topic for said in answers[0]] == ["housing.heating", "roads.pothole"]
        assert [said.priority for said in answers[0]] == [75, 40]
        pid = child_of(classifier)
    until_gone(pid)
    with pytest.raises(TransientError, match="stopped"):
        await classifier.predict(["late"])
    await classifier.stop()


async def test_killed_process_is_replaced(model_file: Path, taxonomy: Taxonomy) -> None:
    """After `kill -9` the next batches are answered by a new process, also when several wait at that moment."""
    async with ClassifierProcess(model_file, priorities=taxonomy.priorities) as classifier:
        pid = child_of(classifier)
        os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*(classifier.predict(["no heating at home"]) for _ in range(5)))
        assert {answer[0].topic for answer in answers} == {"housing.heating"}
        assert child_of(classifier) != pid
        until_gone(pid)


async def test_deadly_text_is_blamed(model_file: Path, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One text whose process dies twice is at fault for good; of several nobody knows which; restarts are bounded."""
    monkeypatch.setattr(process, "_predict", deadly.predict)
    monkeypatch.setattr(process, "MAX_RESTARTS", 5)
    async with ClassifierProcess(model_file, priorities=taxonomy.priorities) as classifier:
        with pytest.raises(PermanentError, match="died 2 times on 1 texts"):
            await classifier.predict(["deadly"])
        with pytest.raises(TransientError, match="died 2 times on 2 texts"):
            await classifier.predict(["deadly", "fine"])
        assert await classifier.predict(["fine"]) == []
        with pytest.raises(TransientError, match="keeps dying") as caught:
            await classifier.predict(["deadly"])
        assert caught.value.retry_after_s is not None
        assert 0 < caught.value.retry_after_s <= process.RESTART_WINDOW_S


async def test_unfit_models_stop_the_start(tmp_path: Path, model_file: Path, taxonomy: Taxonomy) -> None:
    """A missing model, a broken one, one beyond the taxonomy: the start says why, before there is a process."""
    broken = tmp_path / "broken.skops"
    broken.write_bytes(b"nothing")
    for path, priorities, reason in (
        (tmp_path / "none.skops", taxonomy.priorities, "cannot be read"),
        (broken, taxonomy.priorities, "not a model file"),
        (model_file, {"unknown": 1}, "the taxonomy has not"),
    ):
        classifier = ClassifierProcess(path, priorities=priorities)
        with pytest.raises(ConfigurationError, match=reason):
            await classifier.start()
        assert classifier._pool is None


async def test_fault_of_the_estimator_comes_through(tmp_path: Path, model_file: Path, taxonomy: Taxonomy) -> None:
    """What only the process can find out, an estimator that is none, is told by the start too."""
    card, _ = read_model_file(model_file)
    path = tmp_path / "model.skops"
    write_model_file(path, card, estimator=b"nothing")
    with pytest.raises(ConfigurationError, match="the estimator cannot be read"):
        await ClassifierProcess(path, priorities=taxonomy.priorities).start()


def test_killed_daemon_leaves_no_orphan(tmp_path: Path, model_file: Path) -> None:
    """The daemon imports nothing of scikit-learn, and when it is killed the predicting process ends too."""
    script = tmp_path / "daemon.py"
    script.write_text(DAEMON)
    command = [sys.executable, str(script), str(model_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as daemon:
        topic, sklearn, numpy, pid = said_by(daemon)
        assert (topic, sklearn, numpy) == ("housing.heating", "False", "False")
        assert is_alive(int(pid))
        daemon.kill()
        daemon.wait(DEADLINE_S)
    until_gone(int(pid))


def test_clean_stop_says_nothing(tmp_path: Path, model_file: Path) -> None:
    """Ctrl-C reaches the whole group; a daemon that ends in order leaves no process, no warning, no traceback."""
    script = tmp_path / "daemon.py"
    script.write_text(DAEMON)
    command = [sys.executable, "-W", "error", str(script), str(model_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        pid = int(said_by(daemon)[-1])
        os.kill(pid, signal.SIGINT)
        assert is_alive(pid)
        _, errors = daemon.communicate("stop\n", timeout=DEADLINE_S)
    assert daemon.returncode == 0
    assert errors == ""
    until_gone(pid)
