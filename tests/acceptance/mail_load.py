"""Citizens who write mails over many connections and do not give up: what is not answered with 250 is sent again."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Self

RECIPIENT = "appeals@okno.localhost"
CONNECT_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 30.0  # a loaded machine; a sender waits minutes (RFC 5321 §4.5.3.2)
RETRY_S = (0.02, 0.2)  # senders far less patient than real ones: while the daemon is down they knock all the time
PAUSE_S = (0.0, 0.4)  # between two mails of one connection
BIG_MAIL_CHANCE = 0.05
BIG_MAIL_LINES = 1_000  # of some 90 bytes: more than fits beside its appeal, so its blob is kept apart
LINES = (
    "В доме третий день нет отопления, в квартире холодно.",
    "There is a deep pothole on Main street, cars are being damaged.",
    "Во дворе не вывозят мусор вторую неделю.",
    "The lift in our building has been broken for a month.",
    "Прошу разъяснить порядок получения субсидии на оплату жилья.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One mail, the same bytes however often it is sent."""

    message_id: str  # without angle brackets
    content: bytes  # as it follows DATA, the lone dot included

    @classmethod
    def make(cls, name: str, *, dice: random.Random) -> Self:
        """Write a mail whose Message-ID, sender and subject are `name`."""
        line = dice.choice(LINES)
        lines = [line] * (BIG_MAIL_LINES if dice.random() < BIG_MAIL_CHANCE else 5)
        head = (
            f"From: Citizen <{name}@citizens.example>\r\nTo: <{RECIPIENT}>\r\nSubject: {name}\r\n"
            f"Date: Sun, 1 Nov 2026 10:00:00 +0300\r\nMessage-ID: <{name}@citizens.example>\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        )
        content = (head + "".join(f"{text}\r\n" for text in lines) + ".\r\n").encode()
        return cls(message_id=f"{name}@citizens.example", content=content)


@dataclass(kw_only=True, slots=True)
class MailLoad:
    """The load. Inside `async with MailLoad(port=…)` mails go out over all connections, until `finish`."""

    port: int
    connections: int = 10
    seed: int = 0
    accepted: dict[str, str] = field(default_factory=dict)  # Message-ID -> number told, of each answered with 250
    begun: int = 0  # mails
    broken_off: int = 0  # times that a mail was begun and the connection broke before its answer
    refusals: list[str] = field(default_factory=list)  # answers other than 250
    _stopping: bool = False
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(_Correspondent(self, number).write_mails()) for number in range(self.connections)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_finishing(self) -> bool:
        """Whether no new mail is to be begun."""
        return self._stopping

    async def finish(self, *, timeout_s: float) -> None:
        """Begin no new mail, and wait until each that was begun is answered with 250."""
        self._stopping = True
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*self._tasks)


class _Correspondent:
    """One connection, made again whenever it breaks."""

    def __init__(self, load: MailLoad, number: int) -> None:
        self._load = load
        self._number = number
        self._dice = random.Random(f"{load.seed}-{number}")  # noqa: S311 - no secret
        self._written = 0
        self._mail: Mail | None = None  # in hand: to be sent until it is answered with 250

    async def write_mails(self) -> None:
        while self._take_mail() is not None:
            try:
                await self._session()
            except (OSError, EOFError, TimeoutError):  # hung up, killed, refused: what a sender lives with
                await asyncio.sleep(self._dice.uniform(*RETRY_S))  # a sender's pause, not a wait for something

    def _take_mail(self) -> Mail | None:
        if self._mail is None and not self._load.is_finishing:
            self._mail = Mail.make(f"{self._load.seed}-{self._number}-{self._written}", dice=self._dice)
            self._written += 1
            self._load.begun += 1
        return self._mail

    async def _session(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._load.port)
        try:
            await _reply(reader)
            await _command(reader, writer, b"EHLO load.example\r\n")
            while (mail := self._take_mail()) is not None:
                await self._send(reader, writer, mail)
                await asyncio.sleep(self._dice.uniform(*PAUSE_S))  # people do not write all the time
            writer.write(b"QUIT\r\n")
        finally:
            writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mail: Mail) -> None:
        head = f"MAIL FROM:<load@citizens.example>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n"
        try:
            await _command(reader, writer, head.encode(), replies=3)
            answer = await _command(reader, writer, mail.content)
        except (OSError, EOFError, TimeoutError):
            self._load.broken_off += 1
            raise
        if answer.startswith("250 "):
            self._load.accepted.setdefault(mail.message_id, answer.split()[-1])
            self._mail = None
        else:
            self._load.refusals.append(answer)
            raise ConnectionError(answer)


async def _command(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes, *, replies: int = 1
) -> str:
    """Send and return the last of so many replies."""
    writer.write(words)
    await writer.drain()
    answer = ""
    for _ in range(replies):
        answer = await _reply(reader)
    return answer


async def _reply(reader: asyncio.StreamReader) -> str:
    """Return a reply's last line."""
    async with asyncio.timeout(REPLY_TIMEOUT_S):
        while True:
            line = await reader.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError("the server hung up")
            if line[3:4] != b"-":
                return line.decode().rstrip()
