"""The limit: aiosmtpd that only counts what it accepts. Nothing is parsed, nothing is kept.

On asyncio's own event loop, as aiosmtpd comes; with the argument "uvloop" on the one that Okno runs on.
"""

import asyncio
import sys

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session


class _Counter:
    def __init__(self) -> None:
        self.accepted = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        self.accepted += 1
        return "250 2.0.0 counted"


async def _serve() -> None:
    counter = _Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(counter, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    (uvloop if sys.argv[1:] == ["uvloop"] else asyncio).run(_serve())
