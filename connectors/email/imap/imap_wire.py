"""imaplib's connection with limits: nothing a server sends takes more memory or time than one command is allowed.

imaplib names `open`, `read`, `readline`, `send` and `shutdown` as the methods to override. Its own would read a literal
of any size that a server claims into memory, and wait for ever for one byte after the other.
"""

import contextlib
import imaplib
import selectors
import socket
import ssl
import time
from typing import Any

import imapclient

CHUNK_BYTES = 64 * 1024
QUIET_S = 60.0  # without a single byte: the connection is dead
GREETING_BYTES = 256 * 1024  # for connecting and logging in
GREETING_S = 60.0


class ImapWire(imaplib.IMAP4):
    """One connection, plain or TLS, on which every command has a budget of bytes and seconds."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, connect_timeout_s: float) -> None:
        """Connect and read the greeting. Raises OSError or imaplib.IMAP4.error."""
        self._tls = tls
        self._buffer = bytearray()
        self._buffer_start = 0
        self.exceeded = False  # more came than was allowed: imaplib hides which error ended a command
        self.allow(size_bytes=GREETING_BYTES, seconds=GREETING_S)
        super().__init__(host, port, connect_timeout_s)

    def allow(self, *, size_bytes: int, seconds: float) -> None:
        """Set what the server may send, and how long it may take, from now on."""
        self._bytes_left = size_bytes
        self._deadline = time.monotonic() + seconds

    # ---- what imaplib calls
    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        """Connect; with TLS at once if there is a context."""
        self.host, self.port = host, port
        connection = socket.create_connection((host, port), timeout)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.sock = self._tls.wrap_socket(connection, server_hostname=host) if self._tls else connection
        except BaseException:
            connection.close()
            raise

    def starttls(self, ssl_context: ssl.SSLContext | None = None) -> tuple[Any, Any]:
        """Go on over TLS. What came before it is refused: somebody between us may have put it there."""
        if ssl_context is None:
            raise self.abort("no TLS context")
        status, data = self._simple_command("STARTTLS")
        if status == "OK":
            if len(self._buffer) > self._buffer_start:
                raise self.abort("bytes before TLS began")
            self.sock = ssl_context.wrap_socket(self.sock, server_hostname=self.host)
            self._get_capabilities()
        return status, data

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end of the connection. Raises imaplib.IMAP4.abort."""
        if size > self._bytes_left:
            raise self._excess()
        self._bytes_left -= size
        found = [self._take(min(size, len(self._buffer) - self._buffer_start))]
        missing = size - len(found[0])
        while missing > 0:
            chunk = self._receive(min(CHUNK_BYTES, missing))
            if not chunk:
                break
            found.append(chunk)
            missing -= len(chunk)
        return b"".join(found)

    def readline(self) -> bytes:
        """Return one line with its end, what there is at the end of the connection."""
        searched = self._buffer_start
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched - self._buffer_start > self._bytes_left:
                raise self._excess()
            chunk = self._receive(CHUNK_BYTES)
            if not chunk:
                return self._take(len(self._buffer) - self._buffer_start)
            self._buffer += chunk
        line = self._take(end + 1 - self._buffer_start)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise self._excess()
        return line

    def send(self, data: Any) -> None:
        """Send all of `data`."""
        self.sock.settimeout(QUIET_S)
        self.sock.sendall(data)

    def shutdown(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.sock.close()

    def _excess(self) -> imaplib.IMAP4.abort:
        self.exceeded = True
        return self.abort("more than the command was allowed")

    def _take(self, size: int) -> bytes:
        end = self._buffer_start + size
        found = bytes(self._buffer[self._buffer_start : end])
        if end == len(self._buffer):
            self._buffer.clear()
            end = 0
        elif end > CHUNK_BYTES:  # many short lines: what is read is thrown away now and then, not after each
            del self._buffer[:end]
            end = 0
        self._buffer_start = end
        return found

    def _receive(self, size: int) -> bytes:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        self.sock.settimeout(min(QUIET_S, left_s))
        return self.sock.recv(size)

    # ---- waiting
    def wait_readable(self, timeout_s: float) -> bool:
        """Wait until the server has something to say, or has gone; False if it said nothing."""
        if len(self._buffer) > self._buffer_start or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def wait_idle(self, timeout_s: float) -> None:
        """Wait in IDLE (RFC 2177) for any news, at most `timeout_s`. Raises imaplib.IMAP4.error if it is refused."""
        tag = self._command("IDLE")
        while self._get_response() is not None:
            if self.tagged_commands.get(tag):
                raise self.error("IDLE was refused")
        if "EXISTS" not in self.untagged_responses:
            self.wait_readable(timeout_s)
        self.allow(size_bytes=GREETING_BYTES, seconds=QUIET_S)
        self.send(b"DONE\r\n")
        status, _ = self._command_complete("IDLE", tag)
        if status != "OK":
            raise self.error("IDLE was refused")

    def hang_up(self) -> None:
        """End the connection from another thread: whoever reads from it sees its end."""
        with contextlib.suppress(OSError, AttributeError):  # AttributeError: not connected yet
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # not SSLSocket's, which is not for other threads


class WireClient(imapclient.IMAPClient):  # type: ignore[misc]  # it ships no types
    """IMAPClient over `ImapWire`."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, connect_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        super().__init__(host, port, ssl=tls is not None, ssl_context=tls)
        self.normalise_times = False  # aware times
        self.wire.debug = 0  # IMAPClient sets 5: the representation of every mail would be made for a log nobody reads

    @property
    def wire(self) -> ImapWire:
        """The connection below."""
        wire: ImapWire = self._imap
        return wire

    def _create_IMAP4(self) -> ImapWire:  # noqa: N802 - IMAPClient's name; its own test client overrides it as well
        return ImapWire(self.host, self.port, tls=self.ssl_context, connect_timeout_s=self._connect_timeout_s)
