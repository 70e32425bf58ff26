"""TLS on the SMTP, SMTPS and LMTP ports: real certificates, renewed and expired."""

import asyncio
import contextlib
import shutil
import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
import uvloop

from appeals.errors import ConfigurationError
from connectors.base import HealthState

from .conftest import MAILBOX, Dial, MemoryIntake, Office, OpenOffice, running_office

MAIL = b"From: ivan@example.org\r\nSubject: Heating\r\nMessage-ID: <tls@example.org>\r\n\r\nNo heating.\r\n"


class Issuer:
    """A certificate authority and the files it writes for one server."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.certificate, self.key = folder / "fullchain.pem", folder / "privkey.pem"
        self.issue()

    def issue(self, *, days: float = 90) -> None:
        """Write a new pair, as a renewal does."""
        now = datetime.now(UTC)
        pair = self._ca.issue_cert(
            "127.0.0.1", not_before=now - timedelta(days=200), not_after=now + timedelta(days=days)
        )
        pair.private_key_pem.write_to_path(self.key)
        self.certificate.write_bytes(b"".join(part.bytes() for part in pair.cert_chain_pems))

    @property
    def settings(self) -> dict[str, Path]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    def client_context(self, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """Return a context that trusts this authority alone."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        for name, version in versions.items():
            setattr(context, name, version)
        return context


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Return an authority that has issued a certificate for 127.0.0.1."""
    return Issuer(tmp_path)


def _send_starttls(port: int, context: ssl.SSLContext, *, mail: bytes = MAIL) -> tuple[str | None, bytes]:
    """Send a mail after STARTTLS; return TLS version and the server's certificate."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.starttls(context=context)
        assert not client.has_extn("starttls")
        client.sendmail("ivan@example.org", [MAILBOX], mail)
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.version(), client.sock.getpeercert(binary_form=True) or b""


async def test_starttls(open_office: OpenOffice, issuer: Issuer):
    """A client that verifies the certificate sends its mail over TLS 1.2 or newer."""
    office = await open_office(**issuer.settings)
    version, _ = await office.blocking(_send_starttls, office.port, issuer.client_context())
    assert version == "TLSv1.3"
    old = issuer.client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    version, _ = await office.blocking(_send_starttls, office.port, old, mail=MAIL.replace(b"tls@", b"two@"))
    assert version == "TLSv1.2"
    assert [envelope.subject for envelope, _ in office.intake.registered] == ["Heating", "Heating"]


async def test_a_large_mail_over_tls(open_office: OpenOffice, issuer: Issuer):
    """Many records of TLS arrive whole."""
    office = await open_office(**issuer.settings)
    mail = MAIL + b"".join(b"%06d " % number + b"x" * 70 + b"\r\n" for number in range(10_000))
    await office.blocking(_send_starttls, office.port, issuer.client_context(), mail=mail)
    envelope, contents = office.intake.registered[0]
    assert contents[envelope.raw.sha256] == mail


async def test_tls_before_1_2_is_refused(open_office: OpenOffice, issuer: Issuer):
    """A client that knows nothing newer than TLS 1.1 gets no handshake, and the server goes on."""
    office = await open_office(**issuer.settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await office.blocking(_send_starttls, office.port, context)
    await office.blocking(_send_starttls, office.port, issuer.client_context())


async def test_the_tls_port(open_office: OpenOffice, issuer: Issuer):
    """The port of RFC 8314 speaks TLS from the first byte, and does not offer STARTTLS again."""
    office = await open_office(**issuer.settings, smtps_port=0)
    (address,) = [item for item in office.connector.health().addresses if item.startswith("smtps://")]

    def send() -> None:
        context = issuer.client_context()
        with smtplib.SMTP_SSL("127.0.0.1", int(address.rpartition(":")[2]), timeout=20, context=context) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            assert client.docmd("STARTTLS")[0] == 503
            client.sendmail("ivan@example.org", [MAILBOX], MAIL)

    await office.blocking(send)
    assert office.intake.envelope.subject == "Heating"


async def test_require_tls(open_office: OpenOffice, issuer: Issuer, dial: Dial):
    """With require_tls a mail in the clear gets 530 5.7.0; LMTP, which stays in the house, is not asked."""
    office = await open_office(**issuer.settings, require_tls=True)
    wire = await dial(office.port)
    assert (await wire.command("MAIL FROM:<a@b.example>")).startswith("530 5.7.0 ")
    await office.blocking(_send_starttls, office.port, issuer.client_context())
    local = await dial(office.lmtp_port, hello="LHLO front")
    assert (await local.transaction(MAIL)).startswith("250 2.0.0 ")


async def test_what_is_sent_along_with_starttls_ends_the_session(open_office: OpenOffice, issuer: Issuer, dial: Dial):
    """Commands that somebody put in behind STARTTLS are not taken for the client's own (CVE-2011-0411)."""
    office = await open_office(**issuer.settings)
    wire = await dial(office.port)
    await wire.send(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<appeals@okno.localhost>\r\n")
    assert (await wire.reply()).startswith("503 5.5.1 ")
    assert await wire.reply() == ""


async def test_what_was_said_in_the_clear_is_forgotten(open_office: OpenOffice, issuer: Issuer):
    """After STARTTLS the client must greet again, and a sender named before is gone (RFC 3207 §4.2)."""
    office = await open_office(**issuer.settings)

    def talk() -> tuple[int, int]:
        with smtplib.SMTP("127.0.0.1", office.port, timeout=20) as client:
            client.ehlo()
            client.mail("ivan@example.org")
            assert client.docmd("STARTTLS")[0] == 220
            client.sock = issuer.client_context().wrap_socket(client.sock, server_hostname="127.0.0.1")
            client.file = None
            before = client.docmd("RCPT", f"TO:<{MAILBOX}>")[0]
            client.ehlo()
            return before, client.docmd("RCPT", f"TO:<{MAILBOX}>")[0]

    assert await office.blocking(talk) == (503, 503)


async def test_no_certificate_no_starttls(office: Office, dial: Dial):
    """Without a certificate STARTTLS is neither offered nor taken."""
    wire = await dial(office.port, hello=None)
    await wire.reply()
    assert "STARTTLS" not in await wire.command("EHLO x")
    assert (await wire.command("STARTTLS")).startswith("454 4.7.0 ")


async def test_garbage_instead_of_a_handshake(open_office: OpenOffice, issuer: Issuer, dial: Dial):
    """A client that goes on in the clear after STARTTLS is cut off, and the server goes on."""
    office = await open_office(**issuer.settings)
    wire = await dial(office.port)
    assert (await wire.command("STARTTLS")).startswith("220 2.0.0 ")
    await wire.send(b"\x00" * 100 + b"MAIL FROM:<a@b.example>\r\n")
    with contextlib.suppress(ConnectionError):  # cut off is cut off
        assert b"250" not in await asyncio.wait_for(wire._reader.read(), 10)
    await office.blocking(_send_starttls, office.port, issuer.client_context())


async def test_a_silent_handshake_times_out(open_office: OpenOffice, issuer: Issuer, dial: Dial):
    """A client that asks for TLS and then says nothing does not hold its place for ever."""
    office = await open_office(**issuer.settings, command_timeout_s=0.2)
    wire = await dial(office.port)
    await wire.command("STARTTLS")
    with contextlib.suppress(ConnectionError):
        assert b"250" not in await asyncio.wait_for(wire._reader.read(), 10)
    async with asyncio.timeout(10):
        while office.connector._listeners[0]._hub.connections:
            await asyncio.sleep(0.01)


async def test_a_renewed_certificate_is_used_at_once(open_office: OpenOffice, issuer: Issuer):
    """New files are in use with the next connection; files that do not fit change nothing but the health."""
    office = await open_office(**issuer.settings)
    context = issuer.client_context()
    _, first = await office.blocking(_send_starttls, office.port, context)
    shutil.copy(issuer.key, issuer.key.with_suffix(".old"))
    issuer.issue()
    _, second = await office.blocking(_send_starttls, office.port, context)
    assert first != second
    renewed = issuer.key.read_bytes()
    issuer.key.write_bytes(issuer.key.with_suffix(".old").read_bytes())
    _, third = await office.blocking(_send_starttls, office.port, context)
    assert third == second
    health = office.connector.health()
    assert health.state is HealthState.DEGRADED
    assert "does not belong to the certificate" in health.detail
    issuer.key.write_bytes(renewed)
    await office.blocking(_send_starttls, office.port, context)
    assert office.connector.health().state is HealthState.UP


async def test_a_renewal_is_seen_while_nobody_connects(
    open_office: OpenOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
):
    """The health of an idle connector tells of the new certificate, not of the old one."""
    monkeypatch.setattr("connectors.email.smtp.smtp_tls.WATCH_INTERVAL_S", 0.01)
    issuer.issue(days=3)
    office = await open_office(**issuer.settings)
    assert office.connector.health().state is HealthState.DEGRADED
    working = asyncio.create_task(office.connector.work())
    issuer.issue(days=90)
    try:
        async with asyncio.timeout(10):
            while office.connector.health().state is not HealthState.UP:
                await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize(("days", "words"), [(20, ""), (13.5, "in 13 days"), (-1, "expired on")])
async def test_health_tells_of_the_expiry(open_office: OpenOffice, issuer: Issuer, days: float, words: str):
    """Fewer than 14 days before its end a certificate makes the connector degraded."""
    issuer.issue(days=days)
    office = await open_office(**issuer.settings)
    health = office.connector.health()
    assert health.state is (HealthState.DEGRADED if words else HealthState.UP)
    assert words in health.detail


async def test_settings_that_cannot_work_name_their_key(open_office: OpenOffice, issuer: Issuer, tmp_path: Path):
    """A wrong path, a wrong file, a key of another certificate, TLS without a certificate: each error names the key."""
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"no certificate")
    for settings, key in (
        ({"tls_certificate": tmp_path / "missing.pem"}, "email.tls_certificate"),
        ({"tls_certificate": junk}, "email.tls_certificate"),
        ({"tls_certificate": issuer.certificate, "tls_key": junk}, "email.tls_key"),
        ({"require_tls": True}, "email.require_tls"),
        ({"smtps_port": 0}, "email.smtps_port"),
        ({**issuer.settings, "smtps_port": 0, "client_address": "proxy"}, "email.smtps_port"),
        ({"postmaster": "nobody@okno.localhost"}, "email.postmaster"),
    ):
        with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")):
            await open_office(**settings)


def test_starttls_on_the_daemons_loop(issuer: Issuer):
    """On uvloop, which the daemon runs on: a good handshake, a broken one, and a port of TLS."""

    async def scenario() -> None:
        async with running_office(MemoryIntake(), {**issuer.settings, "smtps_port": 0}) as office:
            mail = MAIL + b"x" * 500_000
            await office.blocking(_send_starttls, office.port, issuer.client_context(), mail=mail)
            with pytest.raises(ssl.SSLError):
                await office.blocking(_send_starttls, office.port, ssl.create_default_context())
            reader, writer = await asyncio.open_connection("127.0.0.1", office.port)
            writer.write(b"EHLO x\r\n")
            assert b"220 " in await reader.readline()
            while b"HELP" not in await reader.readline():
                pass
            writer.write(b"STARTTLS\r\n")
            assert b"220 2.0.0 " in await reader.readline()
            writer.write(b"not TLS at all\r\n" * 10)
            with contextlib.suppress(ConnectionError):
                assert b"250" not in await reader.read()
            writer.close()
            assert office.intake.envelope.subject == "Heating"
            async with asyncio.timeout(10):
                while office.connector._listeners[0]._hub.connections:
                    await asyncio.sleep(0.01)

    uvloop.run(scenario())
