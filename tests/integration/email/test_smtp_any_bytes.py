"""Any bytes over a real SMTP session end in a registration, the quarantine or a refusal."""

import asyncio
import contextlib
import re
import ssl

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import MAILBOX, Dial, MemoryIntake, Office, OpenOffice, running_office

REPLY = re.compile(rb"[2345]\d\d[ -][^\r\n]*\r\n")
OUR_FAULTS = {
    "smtp.session_failed",
    "connector.receive_failed",
    "connector.decode_failed",
    "connector.authenticity_failed",
}

_COMMANDS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [
            b"EHLO x", b"HELO x", b"LHLO x", b"MAIL FROM:<a@b.example>", b"MAIL FROM:<> SIZE=10", b"MAIL FROM:<\xd0\xff@b> SMTPUTF8",
            b"RCPT TO:<appeals@okno.localhost>", b"RCPT TO:<appeals+\xff@okno.localhost>", b"RCPT TO:<no@where>", b"DATA", b".", b"..",
            b"RSET", b"NOOP x", b"VRFY \xff", b"HELP DATA", b"AUTH PLAIN AAAA", b"AUTH LOGIN", b"STARTTLS", b"BDAT 10 LAST",
            b"Subject: =?utf-8?B?0J/R", b"From: \xff\x00<", b"Content-Type: multipart/mixed; boundary=", b"", b"X" * 3000, b"QUIT",
        ]
    ),
)  # fmt: skip
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])


def _session(lines: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(line + end for line, end in lines)


async def _talk(content: bytes, *, protocol: str, **settings: object) -> tuple[MemoryIntake, bytes]:
    intake = MemoryIntake()
    async with running_office(intake, {"command_timeout_s": 5.0, **settings}) as office:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", office.port if protocol == "smtp" else office.lmtp_port
        )
        writer.write(content)
        writer.write_eof()
        try:
            replies = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            replies = b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return intake, replies


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(_COMMANDS, _ENDS), max_size=12), st.sampled_from(["smtp", "lmtp"]))
def test_any_dialogue(lines: list[tuple[bytes, bytes]], protocol: str):
    """Whatever a client says, it gets SMTP replies and no traceback, and every 250 to a mail stands for a kept one."""
    with structlog.testing.capture_logs() as logs:
        intake, replies = asyncio.run(_talk(_session(lines), protocol=protocol))
    assert REPLY.sub(b"", replies) == b""
    assert b"Traceback" not in replies
    assert not OUR_FAULTS & {entry["event"] for entry in logs}, logs
    accepted = len(re.findall(rb"registered as|2\.6\.0", replies))
    assert accepted <= len(intake.registered) * 50 + len(intake.quarantined)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(_COMMANDS, _ENDS), max_size=12))
def test_any_mail(lines: list[tuple[bytes, bytes]]):
    """Whatever the bytes of a mail, they are registered or quarantined whole, once, before the 250."""
    content = re.sub(rb"^\.", b"..", re.sub(rb"\r\n\.", b"\r\n..", _session(lines)))
    head = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<appeals@okno.localhost>\r\nDATA\r\n"
    with structlog.testing.capture_logs() as logs:
        intake, replies = asyncio.run(_talk(head + content + b"\r\n.\r\nQUIT\r\n", protocol="smtp"))
    assert not OUR_FAULTS & {entry["event"] for entry in logs}, logs
    kept = [contents[envelope.raw.sha256] for envelope, contents in intake.registered]
    kept += [raw for _, raw in intake.quarantined]
    assert kept == [_session(lines) + b"\r\n"]
    assert replies.count(b"registered as") + replies.count(b"2.6.0") == 1
    assert replies.endswith(b"221 2.0.0 Bye\r\n")


_FRONT_COMMANDS = st.one_of(
    _COMMANDS,
    st.sampled_from(
        [
            b"XCLIENT ADDR=198.51.100.7", b"XCLIENT ADDR=IPV6:2001:db8::1 HELO=\xff", b"XCLIENT ADDR=[UNAVAILABLE]", b"XFORWARD ADDR=x",
            b"XFORWARD HELO=a.example ADDR=198.51.100.8", b"RCPT TO:<postmaster>", b"RCPT TO:<PostMaster@okno.localhost> X=Y", b"STARTTLS",
            b"PROXY TCP4 198.51.100.7 127.0.0.1 1 2", b"From: a@b.example", b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s",
            b"Authentication-Results: mx.okno.localhost; dmarc=pass", b"Received: by mx",
        ]
    ),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(_FRONT_COMMANDS, _ENDS), max_size=14),
    st.sampled_from(["peer", "xclient", "proxy"]),
    st.sampled_from([("127.0.0.0/8",), ()]),
    st.sampled_from(["smtp", "lmtp"]),
)
def test_any_dialogue_at_the_border(
    lines: list[tuple[bytes, bytes]], client_address: str, trusted_networks: tuple[str, ...], protocol: str
):
    """With every option of the border on and no name server answering: replies alone, no traceback, nothing twice."""
    head = b"PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n" if client_address == "proxy" and protocol == "smtp" else b""
    talk = _talk(
        head + (b"LHLO" if protocol == "lmtp" else b"EHLO") + b" x\r\n" + _session(lines),
        protocol=protocol,
        client_address=client_address,
        trusted_networks=trusted_networks,
        trusted_authserv_ids=("mx.okno.localhost",),
        max_errors=5,
        authenticity_timeout_s=0.02,
        dns_servers=("127.0.0.1:1",),
    )
    with structlog.testing.capture_logs() as logs:
        intake, replies = asyncio.run(talk)
    assert REPLY.sub(b"", replies) == b""
    assert not OUR_FAULTS & {entry["event"] for entry in logs}, logs
    kept = [envelope.external_id for envelope, _ in intake.registered]
    assert len(kept) == len(set(kept))


async def test_a_client_that_vanishes_leaves_nothing_behind(office: Office, dial: Dial):
    """A connection cut within DATA registers nothing, and the server goes on."""
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command(f"RCPT TO:<{MAILBOX}>")
    await wire.command("DATA")
    await wire.send(b"Subject: half")
    wire.writer.transport.abort()
    other = await dial(office.port)
    assert (await other.transaction(b"Subject: whole\r\n\r\nx")).startswith("250 2.0.0 ")
    assert [envelope.subject for envelope, _ in office.intake.registered] == ["whole"]


async def test_a_tls_hello_at_the_plain_port(open_office: OpenOffice):
    """A TLS client at the plain port is refused, and the server goes on."""
    office = await open_office()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", office.port, ssl=ssl.create_default_context())
    assert office.connector.health().state == "up"
