"""Two offices whose mail goes to each other: it ends. (Our own mail coming back: tests/integration/email.)"""

import asyncio
import smtplib
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from appeals import tables
from appeals.reply import UNSENT_STATES
from okno.outside.smtp_relay import RelayedMail, SmtpRelay
from tests.acceptance.harness import DaemonProcess

WAIT_S = 90.0


def _office(folder: Path, domain: str, relay: SmtpRelay) -> DaemonProcess:
    address = f"appeals@{domain}"
    email = {"mailboxes": [address], "sender": address, "hostname": f"okno.{domain}", "relay_port": relay.port}
    return DaemonProcess(folder, settings={"email": email}, name=domain)


def _into(port: int) -> Callable[[RelayedMail], Awaitable[None]]:
    """Return what a relay does with a mail whose recipients are at another server: it hands it on at once."""

    async def pass_on(mail: RelayedMail) -> None:
        await asyncio.to_thread(_send, port, mail.mail_from, mail.rcpt_to[0], mail.content)

    return pass_on


def _send(port: int, mail_from: str, rcpt_to: str, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail(mail_from, [rcpt_to], content)


def _mail(sender: str, to: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = sender, to, "Запрос", "<first@request.example>"
    mail.set_content("Просим сообщить о сроках ремонта дороги.")
    return mail.as_bytes()


async def _count(daemon: DaemonProcess, table: Any, *where: Any) -> int:
    async with daemon.registry() as registry, registry.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table).where(*where))).scalar_one())


async def _is_quiet(*daemons: DaemonProcess) -> bool:
    """Tell whether no office has anything to send: relays hand on before they answer, so nothing is under way then."""
    unsent = [state.value for state in UNSENT_STATES]
    waiting = [await _count(daemon, tables.replies, tables.replies.c.state.in_(unsent)) for daemon in daemons]
    return sum(waiting) == 0


async def _until_quiet(*daemons: DaemonProcess) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await _is_quiet(*daemons):
            await asyncio.sleep(0.1)


async def test_two_offices_write_to_each_other(tmp_path: Path):
    """One office asks the other; each relay hands on to the other daemon. One appeal and one acknowledgement, then quiet."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with SmtpRelay() as relay_a, SmtpRelay() as relay_b:
        a, b = _office(folders[0], "a.example", relay_a), _office(folders[1], "b.example", relay_b)
        async with a, b:
            relay_a.on_mail, relay_b.on_mail = _into(b.smtp_port), _into(a.smtp_port)
            mail = _mail("appeals@b.example", "appeals@a.example")
            await asyncio.to_thread(_send, a.smtp_port, "appeals@b.example", "appeals@a.example", mail)
            await relay_a.wait_for(1, timeout_s=WAIT_S)
            await _until_quiet(a, b)
            assert (len(relay_a.messages), len(relay_b.messages)) == (1, 0)
            assert await _count(a, tables.appeals) == 1
            assert await _count(a, tables.replies) == 1
            assert await _count(b, tables.appeals) == 1  # the acknowledgement answers nothing that b knows of
            assert await _count(b, tables.replies) == 0
            assert a.faults() == []
            assert b.faults() == []
