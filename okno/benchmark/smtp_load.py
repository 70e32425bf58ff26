"""Load for an SMTP server: many connections in one process of its own, with as little work a message as can be."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from uuid import uuid4

import uvloop

RECIPIENT = "appeals@okno.localhost"
BODY_BYTES = 2_000
LINES = (
    "В доме 14 по улице Садовой третий день нет отопления, в квартире холодно.",
    "У нас двое маленьких детей, просим принять меры и сообщить о сроках.",
    "Обращались в управляющую компанию, ответа нет. Телефон в приложении.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What the load saw. Times are `time.monotonic` seconds, which all processes of a host share."""

    sent: int
    refused: int
    began_s: float
    ended_s: float
    accepted_at: dict[str, float]  # subject -> when the 250 came; empty unless asked for


def make_mail(subject: str) -> bytes:
    """Return a plain mail of about 2 kB, ready for DATA, dot and all."""
    text = "\r\n".join(LINES)
    body = (text + "\r\n").encode()
    body *= max(1, BODY_BYTES // len(body))
    head = (
        f"From: Citizen <{uuid4().hex[:12]}@citizens.example>\r\nTo: <{RECIPIENT}>\r\nSubject: {subject}\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: <{uuid4().hex}@citizens.example>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return head.encode() + body + b".\r\n"


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read one reply, its continuation lines too."""
    while True:
        line = await reader.readline()
        if not line:
            raise ConnectionError("the server hung up")
        if line[3:4] != b"-":
            return line


async def _connection(
    port: int, work: Iterator[tuple[str, float]], report: dict[str, float], counts: list[int]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _answer(reader)
    writer.write(b"EHLO load.example\r\n")
    await _answer(reader)
    for subject, due_s in work:
        if (wait_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        mail = make_mail(subject)
        writer.write(f"MAIL FROM:<load@citizens.example>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
        for _ in range(3):
            await _answer(reader)
        writer.write(mail)
        reply = await _answer(reader)
        if reply.startswith(b"250"):
            report[subject] = time.monotonic()
            counts[0] += 1
        else:
            counts[1] += 1
    writer.write(b"QUIT\r\n")
    writer.close()
    await writer.wait_closed()


async def load(port: int, *, messages: int, connections: int, per_second: float | None, tag: str) -> LoadReport:
    """Send `messages` mails over `connections`; `per_second` None: as fast as they are taken."""
    began_s = time.monotonic()
    gap_s = 0.0 if per_second is None else 1 / per_second
    work = ((f"{tag}-{number}", began_s + number * gap_s) for number in range(messages))
    accepted: dict[str, float] = {}
    counts = [0, 0]
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(port, work, accepted, counts))
    return LoadReport(
        sent=counts[0], refused=counts[1], began_s=began_s, ended_s=time.monotonic(), accepted_at=accepted
    )


def main() -> None:
    """Take the order as JSON on the command line, print the report as JSON."""
    order = json.loads(sys.argv[1])
    report = uvloop.run(load(order.pop("port"), **order))
    sys.stdout.write(
        json.dumps(
            {
                "sent": report.sent,
                "refused": report.refused,
                "began_s": report.began_s,
                "ended_s": report.ended_s,
                "accepted_at": report.accepted_at,
            }
        )
    )


if __name__ == "__main__":
    main()
