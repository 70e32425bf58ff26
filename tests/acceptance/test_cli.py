"""The command line as a new user and an operator meet it: every command as a process, some beside a running daemon."""

import asyncio
import contextlib
import json
import os
import re
import smtplib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from okno.cli import app
from tests.acceptance.command_server import CommandServer
from tests.acceptance.console_agent import ConsoleAgent
from tests.acceptance.harness import PASSWORD, DaemonProcess
from tests.servers import wait_until

MAILBOX = "appeals@okno.localhost"
TIMEOUT_S = 120.0
NOTHING = {name: value for name, value in os.environ.items() if not name.startswith("OKNO_")}
COMMANDS = (
    "",
    "appeals",
    "appeals export",
    "appeals list",
    "appeals show",
    "bench",
    "bench ingest",
    "bench route",
    "check",
    "classifier",
    "classifier evaluate",
    "classifier predict",
    "classifier train",
    "demo",
    "doctor",
    "explain",
    "init",
    "quarantine",
    "quarantine drop",
    "quarantine list",
    "quarantine retry",
    "quarantine show",
    "rules",
    "rules lint",
    "run",
    "user",
    "user activate",
    "user add",
    "user deactivate",
    "user list",
    "user password",
    "version",
)
WITHOUT_JSON = {"demo", "run", "appeals export"}  # a screen, a daemon, and JSON lines anyway
STRAY_REPORT = (  # a bounce of a mail that we did not send: no appeal, and nobody's answer
    b"From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\nNo such user.\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
    b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--"
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command has left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the one JSON value that standard output is."""
        assert self.code == 0, self.err
        return json.loads(self.out)


class Shell:
    """Runs commands: by default forked from a process that has Okno's modules, `fresh` as `python -m okno`."""

    def __init__(self, server: CommandServer, folder: Path) -> None:
        self._server, self._folder, self._count = server, folder, 0

    def __call__(self, *words: str, cwd: Path, stdin: str = "", fresh: bool = False, **environment: str) -> Done:
        """Run one command to its end; whatever it says, it is no stack trace."""
        env = {**NOTHING, "COLUMNS": "100", **environment}
        self._count += 1
        files = tuple(self._folder / f"{self._count}.{name}" for name in ("in", "out", "err"))
        files[0].write_text(stdin)
        if fresh:
            with files[0].open() as given, files[1].open("wb") as out, files[2].open("wb") as err:
                command = [sys.executable, "-m", "okno", *words]
                code = subprocess.run(
                    command, cwd=cwd, env=env, stdin=given, stdout=out, stderr=err, timeout=TIMEOUT_S, check=False
                ).returncode
        else:
            code = self._server.run(list(words), cwd=cwd, env=env, files=files)
        out, err = (file.read_text(errors="replace") for file in files[1:])
        assert "Traceback" not in out + err, err
        assert "internal error" not in err, err
        return Done(code=code, out=out, err=err)


@pytest.fixture(scope="session")
def okno(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with CommandServer() as server:
        yield Shell(server, tmp_path_factory.mktemp("shell"))


@dataclass(kw_only=True)
class Office:
    """A running daemon with appeals: one held by anna and one in quarantine; commands run beside it."""

    daemon: DaemonProcess
    folder: Path
    shell: Shell
    numbers: list[str] = field(default_factory=list)

    def okno(self, *words: str, stdin: str = "") -> Done:
        return self.shell(*words, "-c", str(self.daemon.config), cwd=self.folder, stdin=stdin)

    def mail(self, content: bytes) -> str:
        """Send one mail; return the last words of the daemon's 250."""
        with smtplib.SMTP("127.0.0.1", self.daemon.smtp_port, timeout=TIMEOUT_S) as client:
            client.ehlo("citizens.example")
            client.mail("ivan@citizens.example")
            client.rcpt(MAILBOX)
            code, words = client.data(content)
        assert code == 250
        return words.decode().split()[-1]

    def quarantine(self, content: bytes) -> str:
        """Send a mail that cannot be registered; return its entry's id."""
        known = {entry["id"] for entry in self.okno("quarantine", "list", "--json").json()}
        self.mail(content)
        (entry,) = (e for e in self.okno("quarantine", "list", "--json").json() if e["id"] not in known)
        return entry["id"]


@pytest.fixture(scope="session")
def office(okno: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("cli")
    daemon = DaemonProcess(folder, settings={"classifier": {"threshold": 0.0}, "queues": {"stale_after_s": 2}})
    made = Office(daemon=daemon, folder=folder, shell=okno)
    skills = [word for name in ("housing", "triage", "roads") for word in ("--skill", f"{name}:5")]
    added = made.okno("user", "add", "anna", "--language", "ru", "--password-stdin", *skills, stdin=f"{PASSWORD}\n")
    assert added.code == 0, added.err
    daemon.start()
    try:
        wait_until(lambda: bool(daemon.entries("daemon.running")), what="start", timeout_s=TIMEOUT_S)
        text = "From: ivan@citizens.example\r\nSubject: Отопление\r\nMessage-ID: <1@x>\r\n\r\nВ квартире нет отопления.\r\n"
        made.numbers.append(made.mail(text.encode()))
        asyncio.run(_hold_one(daemon.url))
        yield made
    finally:
        daemon.kill()
        asyncio.run(daemon.until_no_orphans())


async def _hold_one(url: str) -> None:
    async with ConsoleAgent(url, "anna") as agent:
        await agent.become_available()
        async with asyncio.timeout(TIMEOUT_S):
            await agent.answer_everything(1, text=lambda number: f"Answer {number}")


# ---- every command


def test_every_command_has_help_and_json(okno: Shell, tmp_path: Path):
    """Each command explains itself, nothing is made by asking, and whatever prints has --json."""
    runner = CliRunner()
    for command in COMMANDS:  # in one process: importing everything for each takes a minute
        done = runner.invoke(app, [*command.split(), "--help"], prog_name="okno")
        assert (done.exit_code, done.stderr) == (0, ""), command
        assert f"Usage: okno {command}".rstrip() in done.output
        assert "completion" not in done.output
        is_group = "COMMAND" in done.output
        assert is_group or command in WITHOUT_JSON or "--json" in done.output, command
    root = okno("--help", cwd=tmp_path, fresh=True)
    assert "Usage: okno" in root.out
    assert "Exit codes:" in root.out
    assert list(tmp_path.iterdir()) == []


def test_version(okno: Shell, tmp_path: Path):
    """The version for people and for machines."""
    assert re.fullmatch(r"okno \d+\.\d+\.\d+\n", okno("version", cwd=tmp_path, fresh=True).out)
    assert set(okno("version", "--json", cwd=tmp_path).json()) == {"okno", "python"}


@pytest.mark.parametrize(
    "words", ["vrsion", "check --bogus", "appeals list --limit x", "run --role cook", "bench route --agents 0"]
)
def test_a_wrong_command_line_is_2(okno: Shell, words: str, tmp_path: Path):
    """What is no command or option is said on standard error with exit code 2, and nothing is made."""
    done = okno(*words.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert list(tmp_path.iterdir()) == []


# ---- init, check, rules


def test_init_and_check(okno: Shell, tmp_path: Path):
    """`init` writes what `check` finds no fault in; it overwrites nothing unless forced."""
    assert okno("init", "--json", cwd=tmp_path, fresh=True).json() == {"written": ["okno.yaml", "routing.yaml"]}
    assert (tmp_path / "okno.yaml").stat().st_mode & 0o777 == 0o600
    assert okno("check", "-c", "okno.yaml", "--json", cwd=tmp_path).json() == {"ok": True, "faults": [], "warnings": []}
    before = (tmp_path / "okno.yaml").read_bytes()
    again = okno("init", cwd=tmp_path, fresh=True)
    assert again.code == 2
    assert "--force" in again.err
    assert (tmp_path / "okno.yaml").read_bytes() == before
    assert okno("init", "--force", cwd=tmp_path).code == 0
    assert (tmp_path / "okno.yaml").read_bytes() != before, "a fresh secret key"
    assert okno("init", "no/such/okno.yaml", cwd=tmp_path).code == 2
    assert {path.name for path in tmp_path.iterdir()} == {"okno.yaml", "routing.yaml"}


def test_check_tells_every_fault_at_once(okno: Shell, tmp_path: Path):
    """Each fault has file:line:column and a caret; --json has the same faults; a variable's fault is the variable's."""
    file = tmp_path / "okno.yaml"
    file.write_text("http:\n  port: eighty\nemail:\n  smtp_prot: 25\noffice: {language: fr}\n")
    done = okno("check", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    for place in ("okno.yaml:2:9: http.port", "okno.yaml:4:3: email.smtp_prot", "okno.yaml:5:20: office.language"):
        assert place in done.err
    assert done.err.count("^") == 3
    as_json = okno("check", "--json", cwd=tmp_path)
    assert as_json.code == 2
    assert len(json.loads(as_json.out)["faults"]) == 3
    file.write_text("http: {port: 8081}\n")
    wrong = okno("check", cwd=tmp_path, OKNO_HTTP__PORT="eighty", OKNO_EMAIL__HOSTS="x")
    assert wrong.code == 2
    assert "OKNO_HTTP__PORT:" in wrong.err
    assert "OKNO_EMAIL__HOSTS: there is no such key" in wrong.err
    assert "OKNO_EMIAL__HOST: " in okno("check", cwd=tmp_path, OKNO_EMIAL__HOST="x").err
    assert "OKNO_HTTP: " in okno("check", cwd=tmp_path, OKNO_HTTP="x").err
    file.write_text("http: [\n")
    assert "okno.yaml:2:1: " in okno("check", cwd=tmp_path).err


def test_rules_lint(okno: Shell, tmp_path: Path):
    """The rules that come with Okno have no fault; faults have their lines, columns and carets."""
    assert okno("rules", "lint", "--json", cwd=tmp_path).json()["ok"] is True
    rules = tmp_path / "routing.yaml"
    rules.write_text(
        'version: 1\nqueues: {q: {skills: {triage: 1}}}\nrules:\n  - {name: a, when: "topc == 1", queue: qq}\n'
    )
    done = okno("rules", "lint", str(rules), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert re.search(r"routing\.yaml:4:\d+: ", done.err)
    assert "^" in done.err
    as_json = okno("rules", "lint", str(rules), "--json", cwd=tmp_path)
    assert as_json.code == 2
    assert json.loads(as_json.out)["ok"] is False


# ---- where there is nothing yet


@pytest.mark.parametrize(
    "words", ["appeals list", "explain 1", "quarantine list --json", "user list", "user deactivate x"]
)
def test_looking_makes_nothing(okno: Shell, words: str, tmp_path: Path):
    """Without a data folder a command that looks says what is missing and makes no folder."""
    done = okno(*words.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "there is no registry okno-data/okno.db yet" in done.err
    assert list(tmp_path.iterdir()) == []


def test_doctor_before_the_first_run(okno: Shell, tmp_path: Path):
    """`doctor` finds an empty place in order, and makes nothing."""
    assert okno("doctor", "--json", cwd=tmp_path).json()["ok"] is True
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_registry_is_said(okno: Shell, tmp_path: Path):
    """A file that is no database is one clear line, not an internal error."""
    (tmp_path / "okno-data").mkdir()
    (tmp_path / "okno-data" / "okno.db").write_text("this is no database, but long enough to look like one" * 100)
    done = okno("appeals", "list", cwd=tmp_path)
    assert done.code == 1
    assert "damaged" in done.err
    sick = okno("doctor", "--json", cwd=tmp_path)
    assert sick.code == 1
    assert json.loads(sick.out)["ok"] is False


# ---- beside a running daemon


def test_doctor(office: Office):
    """`doctor` is content with a running office, its history included."""
    found = office.okno("doctor", "--history", "--json").json()
    names = {item["name"] for item in found["findings"]}
    assert {"settings", "registry", "queues", "history", "disk", "connectors"} <= names
    assert all(item["ok"] for item in found["findings"] if item["name"] not in ("quarantine", "disk"))
    assert "history: " in office.okno("doctor", "--history").out


def test_users(office: Office):
    """People are added, changed without losing what was not given, barred and let in; faults are said."""
    added = office.okno(
        "user", "add", "boris", "--skill", "roads:2", "--json", "--password-stdin", stdin="long enough\n"
    )
    assert added.json()["skills"] == {"roads": 2}
    changed = office.okno("user", "add", "boris", "--capacity", "9", "--json").json()
    assert (changed["capacity_units"], changed["skills"]) == (9, {"roads": 2})
    assert office.okno("user", "deactivate", "boris", "--json").json()["active"] is False
    assert "deactivated" in office.okno("user", "list").out
    assert office.okno("user", "activate", "boris", "--json").json()["active"] is True
    assert office.okno("user", "password", "boris", "--password-stdin", "--json", stdin="another long one\n").code == 0
    assert {user["id"] for user in office.okno("user", "list", "--json").json()} == {"anna", "boris"}
    for words, stdin, said in (
        (("add", "eve", "--skill", "roads:9", "--password-stdin"), "long enough\n", "level from 1 to 5"),
        (("add", "eve", "--skill", "roads", "--password-stdin"), "long enough\n", "skill:level"),
        (("add", "eve", "--password-stdin"), "short\n", "at least 10"),
        (("add", "eve"), "", "--password-stdin"),
        (("password", "nobody", "--password-stdin"), "long enough\n", "no user 'nobody'"),
        (("deactivate", "nobody"), "", "no user 'nobody'"),
    ):
        done = office.okno("user", *words, stdin=stdin)
        assert (done.code, done.out) == (2, ""), words
        assert said in done.err


def test_appeals(office: Office):
    """Appeals are listed, shown by their number in any spelling, and exported as JSON lines."""
    (number,) = office.numbers
    (listed,) = office.okno("appeals", "list", "--json", "--channel", "email").json()
    assert (listed["number"], listed["agent_id"]) == (number, "anna")
    assert number in office.okno("appeals", "list").out
    for spelling in (number, number.replace("-", ""), f"№ {number.replace('-', ' ')}"):
        shown = office.okno("appeals", "show", spelling, "--json").json()
        assert shown["appeal"]["number"] == number
    words = office.okno("appeals", "show", number).out
    assert "В квартире нет отопления." in words
    assert f"Answer {number}" in words
    for wrong in ("123", "100-000-0000"):
        done = office.okno("appeals", "show", wrong)
        assert (done.code, done.out) == (1, "")
    exported = office.okno("appeals", "export", "--format", "jsonl")
    assert [json.loads(line)["appeal"]["number"] for line in exported.out.splitlines()] == [number]
    assert "1 appeals exported" in exported.err
    assert office.okno("appeals", "export", "--out", "no/such/file").code in (1, 2)
    shell = f"{sys.executable} -m okno appeals show {number} --json -c {office.daemon.config} | head -c 1"
    piped = subprocess.run(shell, shell=True, cwd=office.folder, env=NOTHING, capture_output=True, check=False)  # noqa: S602
    assert piped.stdout == b"{"
    assert piped.stderr == b""


def test_explain(office: Office):
    """The decisions on an appeal are told in Russian and English and agree with what is computed again."""
    (number,) = office.numbers
    told = {language: office.okno("explain", number, "--language", language).out for language in ("ru", "en")}
    assert number in told["ru"]
    assert told["ru"] != told["en"]
    assert "anna" in told["en"]
    explained = office.okno("explain", number, "--json").json()
    assert explained["number"] == number
    agreements = [decision["agrees"] for decision in explained["decisions"]]
    assert True in agreements
    assert False not in agreements  # None: a placing by rules has nothing to compute again
    assert office.okno("explain", "123").code == 1


def test_quarantine(office: Office):
    """A mail that can be nobody's is listed, shown with its very bytes, kept by a vain retry, and dropped."""
    entry_id = office.quarantine(STRAY_REPORT)
    assert entry_id in office.okno("quarantine", "list").out
    shown = office.okno("quarantine", "show", entry_id)
    assert "reason: " in shown.out
    assert office.okno("quarantine", "show", entry_id, "--json").json()["state"] == "held"
    assert office.okno("quarantine", "show", entry_id, "--raw").out.encode().rstrip() == STRAY_REPORT.replace(
        b"\r\n", b"\n"
    )
    vain = office.okno("quarantine", "retry", entry_id)
    assert (vain.code, vain.out) == (1, "")
    assert "the entry is kept" in vain.err
    assert office.okno("quarantine", "drop", entry_id, "--reason", "spam", "--json").json()["state"] == "dropped"
    assert office.okno("quarantine", "list", "--json").json() == []
    assert office.okno("quarantine", "retry", entry_id).code == 2
    assert office.okno("quarantine", "show", "x").code == 2


def test_quarantine_retry_after_the_cause_is_gone(office: Office):
    """What the registry would not hold is registered by a retry once it would, and the daemon takes it on."""
    with contextlib.closing(sqlite3.connect(office.folder / "data" / "okno.db", timeout=30)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON envelopes WHEN NEW.document LIKE '%poison%' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        database.commit()
        entry_id = office.quarantine(b"From: b@citizens.example\r\nSubject: poison\r\n\r\nA hole in the road.\r\n")
        database.execute("DROP TRIGGER refuse")
        database.commit()
    number = office.okno("quarantine", "retry", entry_id, "--json").json()["number"]
    assert office.okno("appeals", "show", number, "--json").json()["appeal"]["subject"] == "poison"
    assert office.okno("quarantine", "show", entry_id, "--json").json()["state"] == "retried"

    def is_taken_on() -> bool:
        with contextlib.closing(sqlite3.connect(office.folder / "data" / "okno.db", timeout=30)) as database:
            states = database.execute("SELECT state FROM appeals WHERE number = ?", (number,)).fetchall()
        return states != [("registered",)]

    wait_until(is_taken_on, what="classified by the daemon", timeout_s=TIMEOUT_S)


# ---- classifier and benchmarks


def test_classifier(okno: Shell, tmp_path: Path):
    """A model is trained on a small file, measured and asked; a bad file's faults have their lines."""
    topics = {
        "housing.heating": ("нет отопления", "батареи холодные"),
        "roads.pothole": ("яма на дороге", "разбит асфальт"),
    }
    rows = [f"{text} номер {n},{topic}" for topic, texts in topics.items() for text in texts for n in range(8)]
    good, bad, model = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "model.skops"
    good.write_text("text,topic\n" + "\n".join(rows) + "\n", encoding="utf-8")
    bad.write_text("text,topic\nхолодно,housing.heating\nхолодно,no.such.topic\n,roads.pothole\n", encoding="utf-8")
    trained = okno("classifier", "train", "--data", str(good), "--out", str(model), "--json", cwd=tmp_path)
    assert trained.json()["trained"] is True
    measured = okno("classifier", "evaluate", "--data", str(good), "--model", str(model), "--json", cwd=tmp_path)
    assert measured.json()["rows"] == len(rows)
    (guess,) = okno("classifier", "predict", "яма на дороге", "--model", str(model), "--json", cwd=tmp_path).json()
    assert guess["topic"] == "roads.pothole"
    for command in ("train", "evaluate"):
        done = okno("classifier", command, "--data", str(bad), cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert "bad.csv:3" in done.err
        assert "bad.csv:4" in done.err


def test_benchmarks_end_with_one_json_object(okno: Shell, tmp_path: Path):
    """With --json the last line of each benchmark is one object with the figures that were asked for."""
    words = ("--agents", "10", "--skills", "5", "--waiting", "100")
    route = okno("bench", "route", *words, "--json", cwd=tmp_path)
    assert json.loads(route.out.splitlines()[-1]).keys() >= {"decisions_per_s", "flatness"}
    parse = okno("bench", "parse", "--mails", "20", "--rounds", "1", "--json", cwd=tmp_path)
    assert json.loads(parse.out.splitlines()[-1]).keys() >= {"mails_per_s", "limit_per_s", "ratio"}
    ingest = okno("bench", "ingest", "--messages", "200", "--connections", "5", "--paced", "5", "--json", cwd=tmp_path)
    assert ingest.code == 0, ingest.err
    figures = json.loads(ingest.out.splitlines()[-1])
    assert figures.keys() >= {"messages_per_s", "limit_per_s", "ratio", "p50_ms", "p99_ms"}
    assert list(tmp_path.iterdir()) == []
