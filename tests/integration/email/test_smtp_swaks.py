"""swaks, a client of others (Perl), against our ports: TLS, pipelining, LMTP, XCLIENT, PROXY, attachments."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from .conftest import MAILBOX, Office, OpenOffice


class Swaks:
    """Runs swaks against one port."""

    def __init__(self, program: Path, port: int) -> None:
        self._command = [program, "--server", "127.0.0.1", "--port", str(port), "--from", "ivan@example.org"]
        self._command += ["--helo", "client.example.org", "--timeout", "20"]

    async def run(self, *options: str | Path, to: str = MAILBOX) -> tuple[int, str]:
        """Return the exit status and what was said."""
        process = await asyncio.create_subprocess_exec(
            *map(str, [*self._command, "--to", to, *options]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode("utf-8", "replace")


async def test_a_mail_with_an_attachment(office: Office, swaks_path: Path, tmp_path: Path):
    """Swaks sends a text and a file, and is told the number."""
    letter = tmp_path / "letter.pdf"
    letter.write_bytes(b"%PDF-1.4\n%letter")
    swaks = Swaks(swaks_path, office.port)
    status, talk = await swaks.run("--header", "Subject: Heating", "--body", "No heating.", "--attach", f"@{letter}")
    assert status == 0, talk
    assert "250 2.0.0 registered as 482-719-0000" in talk
    envelope = office.intake.envelope
    assert (envelope.subject, envelope.text) == ("Heating", "No heating.")
    assert [item.name for item in envelope.attachments] == ["letter.pdf"]


async def test_tls(open_office: OpenOffice, swaks_path: Path, tmp_path: Path):
    """Swaks demands TLS and a certificate it can verify: by STARTTLS and on the port of TLS."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=90))
    certificate, root = tmp_path / "server.pem", tmp_path / "root.pem"
    pair.private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(root)
    office = await open_office(tls_certificate=certificate, smtps_port=0, require_tls=True)
    verified = ("--tls-verify", "--tls-ca-path", root)
    status, talk = await Swaks(swaks_path, office.port).run("--tls", *verified)
    assert status == 0, talk
    assert "TLS started with cipher TLSv1.3" in talk
    (address,) = [item for item in office.connector.health().addresses if item.startswith("smtps://")]
    port = int(address.rpartition(":")[2])
    status, talk = await Swaks(swaks_path, port).run("--tls-on-connect", *verified, "--header", "Subject: two")
    assert status == 0, talk
    assert len(office.intake.registered) == 2
    status, talk = await Swaks(swaks_path, office.port).run()
    assert status != 0
    assert "530 5.7.0" in talk


async def test_pipelining(office: Office, swaks_path: Path):
    """Commands in one write, an unknown recipient among them: the others get the mail (RFC 2920)."""
    swaks = Swaks(swaks_path, office.port)
    status, talk = await swaks.run("--pipeline", to=f"{MAILBOX},nobody@okno.localhost,housing@okno.localhost")
    assert status == 0, talk
    assert "550 5.1.1" in talk
    assert {point.value for point in office.intake.envelope.recipients} >= {MAILBOX, "housing@okno.localhost"}


async def test_lmtp(office: Office, swaks_path: Path):
    """Swaks speaks LMTP and reads a reply for each recipient."""
    swaks = Swaks(swaks_path, office.lmtp_port)
    status, talk = await swaks.run("--protocol", "LMTP", to=f"{MAILBOX},housing@okno.localhost")
    assert status == 0, talk
    assert talk.count("registered as 482-719-0000") == 2
    assert len(office.intake.registered) == 1


async def test_xclient(open_office: OpenOffice, swaks_path: Path):
    """swaks, as a front MTA, names the client; without the setting it is told that it may not."""
    office = await open_office(client_address="xclient")
    options = ("--xclient-addr", "192.0.2.7", "--xclient-helo", "mx.example.org")
    status, talk = await Swaks(swaks_path, office.port).run(*options)
    assert status == 0, talk
    assert "XCLIENT ADDR=192.0.2.7 HELO=mx.example.org" in talk
    assert len(office.intake.registered) == 1


async def test_xclient_is_not_offered_to_all(office: Office, swaks_path: Path):
    """Without the setting swaks finds no XCLIENT in our greeting and sends nothing."""
    status, talk = await Swaks(swaks_path, office.port).run("--xclient-addr", "192.0.2.7")
    assert status != 0
    assert "XCLIENT" in talk
    assert office.intake.registered == []


@pytest.mark.parametrize("version", ["1", "2"])
async def test_proxy_protocol(open_office: OpenOffice, swaks_path: Path, version: str):
    """Swaks sends a PROXY header of each version."""
    office = await open_office(client_address="proxy")
    addresses = (
        "--proxy-source",
        "192.0.2.7",
        "--proxy-source-port",
        "4000",
        "--proxy-dest",
        "192.0.2.1",
        "--proxy-dest-port",
        "25",
    )
    family = ("--proxy-version", version, "--proxy-family", "TCP4" if version == "1" else "AF_INET")
    if version == "2":
        family += ("--proxy-protocol", "STREAM", "--proxy-command", "PROXY")
    status, talk = await Swaks(swaks_path, office.port).run(*family, *addresses)
    assert status == 0, talk
    assert len(office.intake.registered) == 1


async def test_a_refusal_is_understood(office: Office, swaks_path: Path):
    """An unknown mailbox ends swaks with the status it has for refused recipients."""
    status, talk = await Swaks(swaks_path, office.port).run(to="nobody@okno.localhost")
    assert status == 24
    assert "550 5.1.1" in talk
