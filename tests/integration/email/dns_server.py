"""A name server on loopback, over UDP and TCP: one zone, with names that are silent, broken or too large for UDP."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

TTL_S = 300


@dataclass
class DnsServer:
    """What it knows, and what it was asked."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # names under which nothing is ever answered
    broken: set[str] = field(default_factory=set)  # names that give SERVFAIL
    truncated: set[str] = field(default_factory=set)  # names whose answer comes over TCP alone
    questions: list[tuple[str, str, str]] = field(default_factory=list)  # (name, type, udp or tcp)
    port: int = 0

    @property
    def address(self) -> str:
        """As `email.dns_servers` wants it."""
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, kind: str, *values: str) -> None:
        """Add records in the form of a zone file."""
        self.records.setdefault((name.lower(), kind), []).extend(values)

    def add_txt(self, name: str, text: str) -> None:
        """Add a TXT record, cut into strings of 255."""
        pieces = [text[start : start + 255] for start in range(0, len(text), 255)] or [""]
        self.add(name, "TXT", " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces))

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the answer to one question; None: silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind, transport))
        if self._is_under(name, self.silent):
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self._is_under(name, self.broken):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif transport == "udp" and name in self.truncated:
            response.flags |= dns.flags.TC
        elif values := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, TTL_S, dns.rdataclass.IN, kind, *values))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    @staticmethod
    def _is_under(name: str, names: Iterable[str]) -> bool:
        return any(name == item or name.endswith(f".{item}") for item in names)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def running_dns_server() -> AsyncIterator[DnsServer]:
    """Run a name server that knows nothing yet."""
    server = DnsServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = server.answer(await reader.readexactly(length), "tcp")
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    tcp = await asyncio.start_server(talk, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=("127.0.0.1", server.port))
    try:
        yield server
    finally:
        udp.close()
        tcp.close()
        await tcp.wait_closed()
