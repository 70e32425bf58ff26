"""A mailbox through the real intake into a real registry: the cursor and the appeals survive what the daemon does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from appeals import tables
from appeals.blobs import FileBlobStore
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.registry import Registry
from config.channel_settings import AttachmentSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.screening.intake import ScreeningIntake
from tests.dovecot import DovecotServer

from .imap_office import PATIENCE_S, ImapOffice, mail, mailbox


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """Open a registry on SQLite in a folder of its own."""
    registry = Registry(registry_url("", tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    await registry.migrate()
    yield registry
    await registry.close()


async def _count(registry: Registry) -> tuple[int, int]:
    """Return how many envelopes and how many quarantine entries there are."""
    async with registry.transaction() as transaction:
        numbers = [
            (await transaction.connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (tables.envelopes, tables.quarantine)
        ]
    return numbers[0], numbers[1]


def _with_file(number: int) -> bytes:
    head = f"From: ivan@example.org\r\nMessage-ID: <f{number}@example.org>\r\nSubject: file {number}\r\nMIME-Version: 1.0\r\n"
    part = "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=bill.pdf.exe\r\n\r\nMZ..."
    return (f"{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}\r\n--b--\r\n").encode()


async def test_restarts_and_a_folder_numbered_anew(dovecot_server: DovecotServer, registry: Registry):
    """Over three starts, one of them with another UIDVALIDITY, each mail is one envelope, screened and committed."""
    policy = IntakePolicy(secret_key=b"k" * 32, public_url="", office=OfficeSettings(), deadlines=DeadlineSettings())
    user = dovecot_server.add_user()
    office = ImapOffice(mailbox(dovecot_server, user))
    office.cursors = RegistryCursors(registry)

    async def at(uid: int) -> None:
        cursor = 0
        async with asyncio.timeout(PATIENCE_S):
            while cursor < uid:
                stored = await registry.cursor("email", f"imap:{user.name}:INBOX")
                cursor = json.loads(stored)["uid"] if stored else 0

    for start in range(3):
        for number in range(start * 30, start * 30 + 30):
            user.deliver(_with_file(number) if number % 10 == 0 else mail(number))
        if start == 2:
            user.destroy()
        async with (
            Intake(registry, settings=RegistrySettings(), policy=policy, notifier=SilentNotifier()) as intake,
            ScreeningIntake(intake, AttachmentSettings()) as screening,
        ):
            office.intake = screening
            async with office.running():
                await at(start * 30 + 30)
        assert await _count(registry) == (start * 30 + 30, 0)
    async with registry.transaction() as transaction:
        bodies = (await transaction.connection.execute(select(tables.envelopes))).mappings().all()
    findings = [finding for row in bodies for finding in ("executable",) if finding in str(dict(row))]
    assert len(findings) == 9
