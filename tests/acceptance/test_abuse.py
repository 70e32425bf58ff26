"""One daemon, abused in every way we could think of; after all of it, it works as if nothing had been.

The tests share the daemon and run in order: the last one looks at what the others have left.
"""

import asyncio
import base64
import contextlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from appeals.envelope import Channel
from appeals.reply import DeliveryState, ReplyKind
from okno.outside.city import FAX_NUMBER, KIOSK_ID, MAILBOX, City
from okno.outside.kiosk import KioskPhoto, make_submission, sign
from router.rules import default_rules_path
from tests.acceptance.harness import PASSWORD, DaemonProcess, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CITY_CHANNELS = set(Channel) - {Channel.WEB, Channel.PAPER, Channel.IN_PERSON}  # those the stand-ins write on
LOGIN = "anna"
WAIT_S = 60.0
MIB = 1024 * 1024
SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)>"
CSRF = {"X-Okno-Request": "1"}


@dataclass(kw_only=True)
class Office:
    """The daemon, the world around it, and what must be there in the end."""

    daemon: DaemonProcess
    city: City
    rules: Path
    http: aiohttp.ClientSession
    numbers: list[str] = field(default_factory=list)  # of all that was acknowledged

    @property
    def url(self) -> str:
        return self.daemon.url

    async def post(self, path: str, data: bytes, **headers: str) -> aiohttp.ClientResponse:
        """Post bytes as JSON; returns the answer, read."""
        headers = {"Content-Type": "application/json", **CSRF} | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.http.post(f"{self.url}{path}", data=data, headers=headers) as answer:
            await answer.read()
            return answer

    async def session(self, login: str = LOGIN) -> dict[str, str]:
        """Log in and return the headers of a session."""
        body = json.dumps({"agent_id": login, "password": PASSWORD}).encode()
        answer = await self.post("/api/v1/session", body)
        assert answer.status == 200, await answer.text()
        cookies = SimpleCookie(answer.headers["Set-Cookie"])
        return {"Cookie": "; ".join(f"{key}={morsel.value}" for key, morsel in cookies.items()), **CSRF}

    async def takes_mail(self, subject: str = "still here") -> str:
        """Send a normal mail and return its appeal's number."""
        async with SmtpWire.open(self.daemon.smtp_port) as wire:
            number = await wire.send(mail(subject))
        self.numbers.append(number)
        return number


class SmtpWire:
    """SMTP by hand, so that what a library would refuse to send can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port: int) -> "AsyncIterator[SmtpWire]":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MIB)
        wire = cls(reader, writer)
        try:
            assert (await wire.reply()).startswith("220")
            yield wire
        finally:
            writer.transport.abort()

    async def reply(self) -> str:
        """Return a reply's last line; empty when the server has hung up."""
        async with asyncio.timeout(WAIT_S):
            while True:
                line = (await self.reader.readline()).decode("utf-8", "replace")
                if line[3:4] != "-":
                    return line.rstrip()

    async def command(self, line: bytes) -> str:
        self.writer.write(line + b"\r\n")
        return await self.reply()

    async def begin(self, sender: str = "ivan@citizens.example", recipient: str = MAILBOX) -> str:
        await self.command(b"EHLO citizens.example")
        await self.command(f"MAIL FROM:<{sender}>".encode())
        return await self.command(f"RCPT TO:<{recipient}>".encode())

    async def send(self, content: bytes) -> str:
        """Send one mail and return the number told; it must be taken."""
        assert (await self.begin()).startswith("250")
        assert (await self.command(b"DATA")).startswith("354")
        answer = await self.command(content + b"\r\n.")
        assert answer.startswith("250 "), answer
        return answer.split()[-1]


def mail(subject: str, text: str = "Во дворе не вывозят мусор.", **headers: str) -> bytes:
    message = EmailMessage()
    message["From"] = "Ivan <ivan@citizens.example>"
    message["To"] = MAILBOX
    message["Subject"] = subject
    message["Message-ID"] = f"<{uuid4().hex}@citizens.example>"
    for key, value in headers.items():
        message[key.replace("_", "-")] = value
    message.set_content(text)
    return message.as_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("abuse")
    (folder / "spool").mkdir()
    rules = folder / "routing.yaml"
    rules.write_bytes(default_rules_path().read_bytes())
    async with City() as city, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        settings = {**city.settings(spool_dir=folder / "spool"), "routing": {"rules": str(rules)}}
        daemon = DaemonProcess(folder, settings=settings)
        for login in (LOGIN, "boris"):
            await daemon.add_agent(login)
        async with daemon:
            city.daemon_is_at(daemon.url, smtp_port=daemon.smtp_port)
            yield Office(daemon=daemon, city=city, rules=rules, http=http)


# ---- SMTP


async def test_garbage_on_the_smtp_port(office: Office):
    """Bytes that are no SMTP get 5xx replies or a closed connection; the next mail is taken."""
    for garbage in (b"\x00\xff" * 5_000, b"GET / HTTP/1.1\r\n\r\n" * 50, b"\x16\x03\x01\x02\x00\x01", b"A" * MIB):
        async with SmtpWire.open(office.daemon.smtp_port) as wire:
            wire.writer.write(garbage + b"\r\n")
            with contextlib.suppress(ConnectionError, ValueError):
                assert (await wire.reply())[:1] in ("5", "")
    await office.takes_mail()


async def test_a_mail_of_5_mb_of_text_is_taken(office: Office):
    """Five megabytes of pasted text are one appeal: the text as far as it is read, and the whole original."""
    line = "Прошу разобраться с этим вопросом. " * 2
    async with SmtpWire.open(office.daemon.smtp_port) as wire:
        number = await wire.send(mail("long", "\n".join([line] * (5 * MIB // len(line.encode())))))
    office.numbers.append(number)
    async with office.daemon.registry() as registry:
        conversation = await registry.conversation((await registry.appeal_by_number(number)).id)
        (envelope,) = conversation.envelopes
        assert len(await registry.read_blob(envelope.raw.sha256)) > 5 * MIB
    assert envelope.text.startswith(line.strip())


async def test_a_mail_of_30_mb_is_refused(office: Office):
    """A mail above the limit is refused by its announced SIZE, and when it lied about it with 552."""
    async with SmtpWire.open(office.daemon.smtp_port) as wire:
        await wire.command(b"EHLO citizens.example")
        assert (await wire.command(b"MAIL FROM:<a@b.example> SIZE=31457280")).startswith("552 5.3.4")
        await wire.begin()
        await wire.command(b"DATA")
        for _ in range(30):
            wire.writer.write((b"x" * 1022 + b"\r\n") * 1024)
            await wire.writer.drain()
        assert (await wire.command(b".")).startswith("552 5.3.4")
    await office.takes_mail()


async def test_smtp_injection_and_pipelining_abuse(office: Office):
    """Commands hidden in addresses, after DATA without waiting, and bare line ends make no second mail."""
    async with SmtpWire.open(office.daemon.smtp_port) as wire:
        await wire.command(b"EHLO citizens.example")
        wire.writer.write(b"MAIL FROM:<a@b.example\r\nRCPT TO:<" + MAILBOX.encode() + b">>\r\n")
        assert {(await wire.reply())[:1], (await wire.reply())[:1]} <= {"2", "5"}  # two commands, each for itself
        await wire.command(b"RSET")
        assert (await wire.command(b"MAIL FROM:<a\x00b@c.example>"))[:1] == "5"
        assert (await wire.command(b"MAIL FROM:<a\rRCPT TO:<x@y.example>>"))[:1] == "5"
    async with SmtpWire.open(office.daemon.smtp_port) as wire:
        await wire.begin()
        await wire.command(b"DATA")
        smuggled = (
            b"\n.\nMAIL FROM:<evil@b.example>\nRCPT TO:<" + MAILBOX.encode() + b">\nDATA\nSubject: smuggled\n\nx\n.\n"
        )
        answer = await wire.command(mail("outer") + smuggled + b"\r\n.")
        if answer.startswith("250"):
            office.numbers.append(answer.split()[-1])
        wire.writer.write(b"NOOP\r\nMAIL FROM:<x@y.example>\r\nDATA\r\nDATA\r\n" * 100 + b"QUIT\r\n")
        while (line := await wire.reply()) and not line.startswith("221"):
            assert line[:1] in "245"
    async with office.daemon.registry() as registry:
        subjects = [appeal.subject for appeal in await registry.list_appeals(limit=500)]
    assert "smuggled" not in subjects


async def test_unknown_recipients_are_refused(office: Office):
    """Mail for somebody else is 550 5.1.1, and nothing comes of it."""
    async with SmtpWire.open(office.daemon.smtp_port) as wire:
        assert (await wire.begin(recipient="nobody@okno.localhost")).startswith("550 5.1.1")
        assert (await wire.command(b"DATA"))[:1] == "5"


async def test_very_long_header_lines_and_invalid_utf8(office: Office):
    """A subject of 200 kB and headers that are not UTF-8 are taken or quarantined, with 250 either way."""
    before = len(await _quarantined(office))
    for content in (
        mail("ok").replace(b"Subject: ok", b"Subject: " + b"S" * 200_000),
        mail("ok").replace(b"Subject: ok", b"Subject: \xff\xfe\xc3("),
        mail("ok").replace(b"\r\n\r\n", b"\r\n\r\n\xff\xfe\x00\xc3(", 1),
    ):
        async with SmtpWire.open(office.daemon.smtp_port) as wire:
            await wire.begin()
            await wire.command(b"DATA")
            answer = await wire.command(content + b"\r\n.")
        assert answer.startswith(("250 2.0.0", "250 2.6.0", "500 5.5.2", "500 ")), answer
        if found := re.search(r"\d{3}-\d{3}-\d{4}$", answer):
            office.numbers.append(found[0])
    assert len(await _quarantined(office)) - before <= 2


async def _quarantined(office: Office) -> list[Any]:
    async with office.daemon.registry() as registry:
        return await registry.quarantined()


async def test_our_own_acknowledgement_comes_back(office: Office):
    """An acknowledgement that a loop returns again and again is kept once at most and never acknowledged.

    Answers of a machine to it (an absence notice) join the appeal it tells of.
    """
    number = await office.takes_mail("loop")

    def acknowledgements() -> list[bytes]:
        return [m.content for m in office.city.relay.messages if number in str(m.parsed()["Subject"])]

    await eventually(acknowledgements, what="the acknowledgement", timeout_s=WAIT_S)
    (sent,) = acknowledgements()
    message_id = message_from_bytes(sent)["Message-ID"]
    notice = mail("Re: absent", "I am away", In_Reply_To=message_id, Auto_Submitted="auto-replied")
    told = []
    for content in (*[sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").removesuffix(b"\r\n")] * 5, notice):
        async with SmtpWire.open(office.daemon.smtp_port) as wire:
            assert (await wire.begin(sender="")).startswith("250")
            await wire.command(b"DATA")
            answer = await wire.command(content + b"\r\n.")
        assert answer.startswith("250 "), answer
        told.append(answer.split()[-1])
    assert len(set(told[:5])) == 1, "each round of the loop opened a new appeal"
    assert told[5] == number
    office.numbers.append(told[0])
    last = await office.takes_mail("after the loop")  # once this one is acknowledged, the loop would have been too

    def told_of_the_last() -> bool:
        return any(last in str(m.parsed()["Subject"]) for m in office.city.relay.messages)

    await eventually(told_of_the_last, what="the last acknowledgement", timeout_s=WAIT_S)
    assert len(acknowledgements()) == 1
    async with office.daemon.registry() as registry:
        looped = await registry.conversation((await registry.appeal_by_number(told[0])).id)
    kinds = [reply.kind for reply in looped.replies]
    assert kinds.count(ReplyKind.ACKNOWLEDGEMENT) == (told[0] == number)


async def test_silent_connections_do_not_keep_mail_out(office: Office):
    """While 50 connections on each port say nothing, a mail comes in and a page is served."""
    silent = [
        await asyncio.open_connection("127.0.0.1", port)
        for port in (office.daemon.smtp_port, office.daemon.http_port)
        for _ in range(50)
    ]
    try:
        for _, writer in silent[50:]:
            writer.write(b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await office.takes_mail("while others are silent")
        async with office.http.get(f"{office.url}/healthz") as answer:
            assert answer.status == 200
    finally:
        for _, writer in silent:
            writer.transport.abort()


# ---- HTTP


async def test_garbage_on_the_http_port(office: Office):
    """Bytes that are no HTTP, wrong Content-Lengths and endless headers get 4xx or a closed connection."""
    requests = (
        b"\x00\xff" * 1_000 + b"\r\n\r\n",
        b"EHLO x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * MIB + b"\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /hooks/twilio/sms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    )
    for request in requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", office.daemon.http_port)
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            writer.write_eof()
            async with asyncio.timeout(WAIT_S):
                answer = await reader.read()
            assert not answer or re.match(rb"HTTP/1\.[01] 4\d\d ", answer), (request[:60], answer[:100])
            assert b"Traceback" not in answer
        writer.transport.abort()


async def test_a_body_shorter_than_promised(office: Office):
    """A request whose body ends early registers nothing and holds nobody up."""
    paths = (f"/hooks/kiosk/{KIOSK_ID}", "/hooks/twilio/sms", "/hooks/fax/sinch", "/api/v1/session", "/api/v1/uploads")
    for path in paths:
        reader, writer = await asyncio.open_connection("127.0.0.1", office.daemon.http_port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Okno-Request: 1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        writer.write_eof()
        async with asyncio.timeout(WAIT_S):
            answer = await reader.read()
        assert not answer or re.match(rb"HTTP/1\.1 4\d\d ", answer), (path, answer[:100])
        writer.transport.abort()


async def test_50_mb_at_the_kiosk_are_413(office: Office):
    """Fifty megabytes of attachments are refused with 413 and problem+json, whether announced or chunked."""
    photo = KioskPhoto(name="scan.png", media_type="image/png", content=b"\x89PNG" + bytes(50 * MIB))
    body = json.dumps(make_submission("big", photos=[photo])).encode()
    headers = sign(body.decode(), secret=office.city.kiosk_secret, message_id="msg_big")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]

    for data in (io.BytesIO(body), chunks()):
        try:
            async with office.http.post(f"{office.url}/hooks/kiosk/{KIOSK_ID}", data=data, headers=headers) as answer:
                assert answer.status == 413
                assert answer.content_type == "application/problem+json"
        except aiohttp.ClientConnectionError:
            pass  # the door was shut while we were still pushing: refused too
    await office.takes_mail()


async def test_unsigned_forged_stale_and_replayed_hooks(office: Office):
    """Hooks that are not signed as agreed are 4xx with problem+json; a replayed one registers nothing new."""
    city, kiosk, twilio = office.city, f"/hooks/kiosk/{KIOSK_ID}", f"{office.url}/hooks/twilio/sms"
    body = json.dumps(make_submission("forged"))
    good = sign(body, secret=city.kiosk_secret, message_id="msg_1")
    old = sign(body, secret=city.kiosk_secret, message_id="msg_1", at=datetime.now(UTC) - timedelta(hours=1))
    forged = sign(body, secret="whsec_" + base64.b64encode(b"k" * 24).decode(), message_id="msg_1")
    junk = {**good, "webhook-signature": "v1,~", "webhook-timestamp": "NaN"}
    for headers in ({}, old, forged, junk, {**good, "webhook-id": "msg_2"}):
        async with office.http.post(f"{office.url}{kiosk}", data=body, headers=headers) as answer:
            assert answer.status in (400, 401, 403), headers
            assert answer.content_type == "application/problem+json"
    answers = []
    for _ in range(3):
        async with office.http.post(f"{office.url}{kiosk}", data=body, headers=good) as answer:
            answers.append((answer.status, (await answer.json())["number"]))
    assert len(set(answers)) == 1
    assert answers[0][0] == 200
    office.numbers.append(answers[0][1])

    form = city.twilio.incoming_form(sender="+79215550001", body="SMS", message_sid="SM" + "0" * 32)
    for signature in ("", "forged", "=" * 5_000):
        assert (await city.twilio.post_form(twilio, form, signature=signature)).status == 403
    assert [(await city.twilio.post_form(twilio, form)).status for _ in range(3)] == [200] * 3
    for path in ("/hooks/telegram/wrong", "/hooks/telegram/demo-webhook-secret"):
        assert (await office.post(path, b'{"update_id": 1}')).status in (401, 403, 404)
    for credentials in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Basic %%%"}, {"Authorization": "Be x"}):
        assert (await office.post("/hooks/fax/sinch", b"{}", **credentials)).status in (400, 401)


async def test_invalid_utf8_and_rubbish_in_signed_hooks(office: Office):
    """What is rightly signed and yet nonsense is refused with 4xx, or kept, never an internal error."""
    city = office.city
    webhook = Webhook(city.kiosk_secret)
    texts = ("[]", "null", "{}", '"x"', "[" * 100_000, '{"text": "\\ud800"}', '{"a":' * 50_000, "1e999999")
    for number, text in enumerate(texts):
        moment = datetime.now(UTC)
        headers = {
            "webhook-id": f"msg_x{number}",
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": webhook.sign(f"msg_x{number}", moment, text),
        }
        answer = await office.post(f"/hooks/kiosk/{KIOSK_ID}", text.encode(), **headers)
        assert answer.status == 202 or 400 <= answer.status < 500, (text[:20], answer.status)  # 202: in quarantine
    raw = await office.post(f"/hooks/kiosk/{KIOSK_ID}", b"\xff\xfe", webhook_id="1", webhook_signature="v1,AA==")
    assert 400 <= raw.status < 500
    surrogate = json.dumps(make_submission("lone \ud800 surrogate \x00 and NUL", subject="\ud800"))
    headers = sign(surrogate, secret=city.kiosk_secret, message_id="msg_surrogate")
    answer = await office.post(f"/hooks/kiosk/{KIOSK_ID}", surrogate.encode(), **headers)
    assert answer.status in (200, 202, 400, 422)
    if answer.status == 200:
        office.numbers.append((await answer.json())["number"])
    fax = base64.b64encode(f"{city.fax.webhook_username}:{city.fax.webhook_password}".encode()).decode()
    for data in (b"\xff", b"[" * 100_000, b"null", b"{}", b'{"event":"INCOMING_FAX","fax":[]}'):
        answer = await office.post("/hooks/fax/sinch", data, Authorization=f"Basic {fax}")
        assert answer.status < 500, data[:20]


async def test_deep_and_broken_json_at_every_endpoint(office: Office):
    """100,000 nested arrays, invalid UTF-8 and wrong types are 4xx problem+json at every endpoint that reads JSON."""
    session = await office.session()
    async with office.http.get(f"{office.url}/api/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    for path, methods in paths.items():
        for method in methods.keys() & {"post", "put", "patch"}:
            for data in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"null", b'{"agent_id": "\\ud800"}'):
                url = office.url + re.sub(r"\{\w+\}", "1", path)
                headers = {**session, "Content-Type": "application/json"}
                async with office.http.request(method, url, data=data, headers=headers) as answer:
                    assert 400 <= answer.status < 500, (path, data[:20], answer.status)
                    assert answer.content_type == "application/problem+json", path


async def test_paths_that_climb(office: Office):
    """%00 and ../ lead nowhere: neither out of the static files nor out of the blobs."""
    session = await office.session()
    number = office.numbers[0] if office.numbers else await office.takes_mail()
    climbs = (
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%00",
        "a%00.js",
        "..",
    )
    for base in ("/", "/assets/", "/static/", f"/api/v1/appeals/{number}/blobs/", f"/api/v1/appeals/{number}/raw/"):
        for climb in climbs:
            reader, writer = await asyncio.open_connection("127.0.0.1", office.daemon.http_port)
            lines = [f"GET {base}{climb} HTTP/1.1", "Host: x", "Connection: close"]
            writer.write("\r\n".join([*lines, f"Cookie: {session['Cookie']}", "", ""]).encode())
            async with asyncio.timeout(WAIT_S):
                answer = await reader.read()
            writer.close()
            status = int(answer.split()[1])
            assert b"root:" not in answer
            assert status < 500, (base, climb, status)


async def test_a_script_stays_text(office: Office):
    """A script in a subject or a form is the same text in the API, and no page carries it as markup."""
    numbers = [await office.takes_mail(SCRIPT)]
    status, answer = await office.city.write_at_kiosk(subject=SCRIPT, text=SCRIPT, name=SCRIPT)
    assert status == 200
    numbers.append(answer["number"])
    office.numbers.append(answer["number"])
    session = await office.session()
    for number in numbers:
        async with office.http.get(f"{office.url}/api/v1/appeals/{number}", headers=session) as found:
            assert found.content_type == "application/json"
            assert found.headers["X-Content-Type-Options"] == "nosniff"
            assert (await found.json())["appeal"]["subject"] == SCRIPT
    for page in ("/", "/status", f"/?q={SCRIPT}", f"/appeals/{SCRIPT}"):
        async with office.http.get(f"{office.url}{page}") as found:
            assert SCRIPT not in await found.text()
            if found.content_type == "text/html":
                assert "script-src" in found.headers["Content-Security-Policy"]


async def test_a_websocket_that_sends_rubbish(office: Office):
    """Rubbish on the websocket gets an error message or a close code; others' consoles go on."""
    session = await office.session()
    for rubbish in (
        "x",
        "[" * 50_000,
        "{}",
        '{"type":"accept"}',
        '{"type":"hello","request_id":[]}',
        "\ud7ff" * 10,
        b"\x00\xff",
    ):
        async with office.http.ws_connect(f"{office.url}/ws/agent", headers=session, origin=office.url) as socket:
            await (socket.send_bytes(rubbish) if isinstance(rubbish, bytes) else socket.send_str(rubbish))
            message = await socket.receive(timeout=WAIT_S)
            if message.type is aiohttp.WSMsgType.TEXT:
                assert message.json()["type"] == "error"
                assert "Traceback" not in message.data
            else:
                assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    async with office.http.ws_connect(f"{office.url}/ws/agent", headers=session, origin=office.url) as socket:
        with contextlib.suppress(ConnectionError):
            await socket.send_str("x" * (20 * MIB))
        with contextlib.suppress(ConnectionError):
            assert (await socket.receive(timeout=WAIT_S)).type is not aiohttp.WSMsgType.TEXT


async def test_an_invalid_edit_of_the_rules_changes_nothing(office: Office):
    """Garbage in routing.yaml is told by /readyz with its line; the valid file is live again within two seconds."""
    good = office.rules.read_text(encoding="utf-8")

    async def router() -> dict[str, Any]:
        async with office.http.get(f"{office.url}/readyz") as answer:
            assert answer.status == 200
            return (await answer.json())["checks"]["router"]

    office.rules.write_text(good + "\n  - [unclosed: {{{\n", encoding="utf-8")
    line = good.count("\n") + 2

    async def told() -> bool:
        found = await router()
        return not found["ok"] and re.search(rf"routing\.yaml:{line}|routing\.yaml:{line + 1}", found["detail"])

    await eventually(told, what="the fault in /readyz", timeout_s=WAIT_S)
    await office.takes_mail("while the rules are broken")
    office.rules.write_text(good, encoding="utf-8")
    began = time.monotonic()

    async def well() -> bool:
        return (await router())["ok"]

    await eventually(well, what="the valid rules in force", timeout_s=10.0)
    assert time.monotonic() - began < 10.0


async def test_two_agents_accept_one_offer(office: Office):
    """One offer accepted twice over at the same moment, and by a stranger, ends with one agent who holds it."""
    session = await office.session("boris")
    stranger = await office.session(LOGIN)
    async with (
        office.http.ws_connect(f"{office.url}/ws/agent", headers=session, origin=office.url) as one,
        office.http.ws_connect(f"{office.url}/ws/agent", headers=session, origin=office.url) as two,
        office.http.ws_connect(f"{office.url}/ws/agent", headers=stranger, origin=office.url) as other,
    ):
        for socket in (one, two, other):
            await socket.send_json({"type": "hello", "request_id": "hello", "after_id": None})
            await _until(socket, "hello")
        await one.send_json({"type": "set_status", "request_id": "s", "status": "available"})
        offer = await _until(one, None, kind="offer")
        accept = {"type": "accept", "request_id": "a", "offer_id": offer["offer_id"]}
        await asyncio.gather(*(socket.send_json(accept) for socket in (one, two, other)))
        answers = await asyncio.gather(*(_until(socket, "a") for socket in (one, two, other)))
        assert answers[2]["type"] == "error"
        assert "ack" in {answer["type"] for answer in answers[:2]}
        await one.send_json({"type": "set_status", "request_id": "o", "status": "offline"})
        await _until(one, "o")
    async with office.daemon.registry() as registry:
        appeal = await registry.appeal_by_number(offer["number"])
        events = [event.kind for event in (await registry.conversation(appeal.id)).events]
    assert appeal.agent_id == "boris"
    assert events.count("appeal.assigned") + events.count("offer.accepted") <= 2


async def _until(socket: aiohttp.ClientWebSocketResponse, request_id: str | None, kind: str = "") -> dict[str, Any]:
    """Return the answer to a request, or the next message of a kind."""
    async with asyncio.timeout(WAIT_S):
        while True:
            message = await socket.receive_json()
            if (request_id and message.get("request_id") == request_id) or (kind and message["type"] == kind):
                return message


async def test_200_log_ins_at_once(office: Office):
    """Two hundred wrong log-ins at once are 401 and then 429 with Retry-After; the daemon goes on meanwhile."""
    body = json.dumps({"agent_id": LOGIN, "password": "wrong-password"}).encode()
    attempts = asyncio.gather(*(office.post("/api/v1/session", body) for _ in range(200)))
    await office.takes_mail("while somebody guesses")
    statuses = Counter(answer.status for answer in await attempts)
    assert set(statuses) <= {401, 429}, statuses
    assert statuses[429] >= 150
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in await attempts if answer.status == 429)


# ---- after all that


async def test_after_all_that_nothing_is_lost(office: Office):
    """Healthy, a message on each channel goes through, history is whole, no appeal lost, none acknowledged twice."""
    for path in ("/healthz", "/readyz"):
        async with office.http.get(f"{office.url}{path}") as answer:
            assert answer.status == 200, await answer.text()
    city = office.city
    await office.takes_mail("the last one")
    assert await city.write_sms(sender="+79215559999", text="The last SMS") == 200
    city.write_telegram(chat_id=99, text="The last of Telegram", name="Last")
    assert (await city.write_at_kiosk(subject="Last", text="The last form", name="Last"))[0] == 200
    assert await city.write_fax(sender="+78125559999", pages=["The last fax"]) == 200
    async with office.daemon.registry() as registry:

        async def settled() -> bool:
            appeals = await registry.list_appeals(limit=1_000)
            replies = [r for a in appeals for r in (await registry.conversation(a.id)).replies]
            busy = (DeliveryState.QUEUED, DeliveryState.SENDING)
            return len({a.channel for a in appeals}) >= 5 and not any(r.state in busy for r in replies)

        await eventually(settled, what="all delivered", timeout_s=WAIT_S)
        for number in office.numbers:
            await registry.appeal_by_number(number)
        acknowledged: Counter[str] = Counter()
        async for appeal in registry.iterate_appeals():
            for reply in (await registry.conversation(appeal.id)).replies:
                acknowledged[appeal.number] += reply.kind is ReplyKind.ACKNOWLEDGEMENT
        assert max(acknowledged.values()) == 1, acknowledged.most_common(3)
        assert {a.channel for a in await registry.list_appeals(limit=1_000)} >= CITY_CHANNELS
        assert not (await registry.check_history()).faults
    log = office.daemon.log()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3_000]
    assert FAX_NUMBER.strip("+") not in log
