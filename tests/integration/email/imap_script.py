"""A small IMAP server that keeps to RFC 3501, until its script says otherwise: for servers nobody can install."""

import base64
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Intrude = Callable[[str, bytes], bytes | None]
"""(command, the proper answer) -> what is sent instead; None hangs up."""

COMMAND = re.compile(rb"(\S+) ((?:UID )?\S+) ?(.*)", re.DOTALL)


@dataclass
class ScriptedImap:
    """One mailbox. `intrude` sees every answer before it is sent, and may send any bytes instead."""

    mails: dict[int, bytes] = field(default_factory=dict)  # UID -> bytes
    capabilities: str = "IMAP4rev1 IDLE"
    uidvalidity: int = 7
    uidnext: int | None = None
    sizes: dict[int, int] = field(default_factory=dict)  # what RFC822.SIZE says, where it is not the size
    intrude: Intrude = lambda _, answer: answer
    commands: list[str] = field(default_factory=list)
    log_ins: list[bytes] = field(default_factory=list)
    changed: threading.Event = field(default_factory=threading.Event)  # ends an IDLE
    port: int = 0

    def answer(self, tag: str, command: str, rest: bytes) -> bytes:
        """Return the proper answer."""
        done = f"{tag} OK done\r\n".encode()
        if command == "CAPABILITY":
            return f"* CAPABILITY {self.capabilities}\r\n".encode() + done
        if command in {"SELECT", "EXAMINE"}:
            uidnext = self.uidnext or max(self.mails, default=0) + 1
            head = f"* {len(self.mails)} EXISTS\r\n* OK [UIDVALIDITY {self.uidvalidity}] .\r\n* OK [UIDNEXT {uidnext}] .\r\n"
            return head.encode() + done
        if command == "UID SEARCH":
            return self._search(rest) + done
        if command == "UID FETCH":
            return b"".join(self._fetch(rest)) + done
        if command == "LOGOUT":
            return b"* BYE\r\n" + done
        return done

    def _wanted(self, numbers: bytes) -> list[int]:
        found: set[int] = set()
        for part in numbers.split(b","):
            first, _, last = part.partition(b":")
            if last == b"*":
                found |= {uid for uid in self.mails if uid >= int(first)} | ({max(self.mails)} if self.mails else set())
            else:
                found |= set(self.mails) & set(range(int(first), int(last or first) + 1))
        return sorted(found)

    def _search(self, rest: bytes) -> bytes:
        found = self._wanted(rest.removeprefix(b"UID ").split()[0])
        return b"* SEARCH" + b"".join(b" %d" % uid for uid in found) + b"\r\n"

    def _fetch(self, rest: bytes) -> Iterator[bytes]:
        numbers, _, items = rest.partition(b" ")
        for uid in self._wanted(numbers):
            sequence, mail = sorted(self.mails).index(uid) + 1, self.mails[uid]
            if b"RFC822.SIZE" in items:
                size = self.sizes.get(uid, len(mail))
                date = b'"01-Nov-2026 10:00:00 +0300"'
                yield b"* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE %b)\r\n" % (sequence, uid, size, date)
            elif b"HEADER" in items:
                head = mail.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                yield b"* %d FETCH (UID %d BODY[HEADER]<0> {%d}\r\n%b)\r\n" % (sequence, uid, len(head), head)
            else:
                yield b"* %d FETCH (UID %d BODY[] {%d}\r\n%b)\r\n" % (sequence, uid, len(mail), mail)

    # ---- the wire
    def serve(self, connection: socket.socket) -> None:
        """Speak with one client until one of us has enough."""
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as reader:
            connection.settimeout(20)
            if not self._send(connection, "GREETING", b"* OK ready\r\n"):
                return
            while line := reader.readline():
                match = COMMAND.fullmatch(line.rstrip(b"\r\n"))
                if match is None:
                    return
                tag, command = match[1].decode(), match[2].decode().upper()
                self.commands.append(command)
                if command == "IDLE":
                    if not self._idle(connection, reader, tag):
                        return
                elif command == "AUTHENTICATE":
                    connection.sendall(b"+ \r\n")
                    self.log_ins.append(base64.b64decode(reader.readline()))
                    connection.sendall(f"{tag} OK in\r\n".encode())
                elif not self._send(connection, command, self.answer(tag, command, match[3])) or command == "LOGOUT":
                    return

    def _send(self, connection: socket.socket, command: str, answer: bytes) -> bool:
        sent = self.intrude(command, answer)
        if sent is None:
            return False
        connection.sendall(sent)
        return True

    def _idle(self, connection: socket.socket, reader: object, tag: str) -> bool:
        if not self._send(connection, "IDLE", b"+ idling\r\n"):
            return False
        if self.changed.is_set():
            self.changed.clear()
            connection.sendall(b"* %d EXISTS\r\n" % len(self.mails))
        reader.readline()  # type: ignore[attr-defined]
        connection.sendall(f"{tag} OK idled\r\n".encode())
        return True


@contextmanager
def serving(script: ScriptedImap) -> Iterator[ScriptedImap]:
    """Serve on a port of its own, each connection in a thread."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            script.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        script.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()
