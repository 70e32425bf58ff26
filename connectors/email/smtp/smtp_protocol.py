"""The SMTP dialogue over aiosmtpd: our extensions, our replies, and DATA read in large pieces."""

import asyncio
import re
from email.errors import MessageError

import structlog
from aiosmtpd.proxy_protocol import ProxyData
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.smtp import smtp_replies
from connectors.email.smtp.smtp_client import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, RealClient, parse_attributes
from connectors.email.smtp.smtp_connection import SmtpConnection
from connectors.email.smtp.smtp_data import DataOverrunError, count_hops, read_data
from connectors.email.smtp.smtp_hub import SmtpHub

logger = structlog.get_logger(__name__)

MAX_HOPS = 50  # RFC 5321 §6.3 suggests 100 and more; Postfix stops at 50, and a way of 50 servers is no way

_PATH = re.compile(r"<([^\s<>\"\\@,:()\[\];]+@[^\s<>\"\\@,:()\[\];]+)>(?:[ \t]+(.*))?", re.DOTALL)
_POSTMASTER_PATH = re.compile(r"<(postmaster)>(?:[ \t]+(.*))?", re.DOTALL | re.IGNORECASE)  # RFC 5321 §4.1.1.3
_BAD_IN_PATH = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")


class _Policy:
    """aiosmtpd's hooks: what we say to MAIL, RCPT and a PROXY header."""

    def __init__(self, hub: SmtpHub) -> None:
        self._hub = hub

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address != "<>" and _BAD_IN_PATH.search(address):
            return smtp_replies.BAD_ADDRESS
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return smtp_replies.SENDER_OK

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._hub.settings.max_recipients:
            return smtp_replies.TOO_MANY_RECIPIENTS
        if _BAD_IN_PATH.search(address):
            return smtp_replies.BAD_ADDRESS
        delivery = self._hub.service.mailboxes.find(address)
        if delivery is None:
            return smtp_replies.UNKNOWN_RECIPIENT
        envelope.rcpt_tos.append(address if "@" in address else delivery.mailbox)
        envelope.rcpt_options.extend(options)
        return smtp_replies.RECIPIENT_OK

    async def handle_PROXY(  # noqa: N802
        self, server: SMTP, _session: Session, _envelope: Envelope, proxy: ProxyData
    ) -> bool:
        return isinstance(server, MailSmtp) and await server.take_proxied(proxy)


class MailSmtp(SmtpConnection):
    """One SMTP connection (RFC 5321; STARTTLS, 8BITMIME, SIZE, SMTPUTF8, PIPELINING, ENHANCEDSTATUSCODES)."""

    takes_proxy_protocol = True

    def __init__(self, hub: SmtpHub, *, loop: asyncio.AbstractEventLoop) -> None:
        self._client = RealClient()  # named by XCLIENT or PROXY, for the whole connection
        self._forwarded = RealClient()  # named by XFORWARD, for one mail
        proxied = hub.settings.client_address == "proxy" and self.takes_proxy_protocol
        super().__init__(
            hub,
            _Policy(hub),
            loop=loop,
            require_starttls=hub.settings.require_tls and self.protocol_name == "smtp",
            proxy_protocol_timeout=hub.settings.command_timeout_s if proxied else None,
        )
        self._is_proxied = proxied

    def _refusal(self) -> str | None:
        if self._is_proxied and not self.is_trusted:
            return smtp_replies.NOT_A_FRONT
        return super()._refusal()

    # -- the real client behind a front MTA

    async def take_proxied(self, proxy: ProxyData) -> bool:
        """Take the client's address over from a PROXY header; False if the connection is refused."""
        if not proxy.valid:
            return False
        address = str(proxy.src_addr) if proxy.src_addr else ""
        if address:  # none: the front's own connection, a health check
            self._client = RealClient(address=address)
            self.is_trusted = address in self._hub.service.trusted
            if not self.is_trusted and not self._admit(address):
                await self.close(smtp_replies.TOO_MANY_FROM_ADDRESS)
                return False
        return True

    @property
    def _names_client(self) -> bool:
        """Whether this peer may name the real client."""
        return self._hub.settings.client_address == "xclient" and self.peer_address in self._hub.service.trusted

    async def _read_attributes(self, arg: str | None, allowed: frozenset[str]) -> RealClient | None:
        """Return what the command says; None if it was refused."""
        if not self._names_client:
            await self.push(smtp_replies.NOT_AUTHORISED)
        elif self.envelope is not None and self.envelope.mail_from:
            await self.push(smtp_replies.NOT_NOW)
        else:
            try:
                return parse_attributes(arg or "", allowed=allowed)
            except ValueError:
                await self.push(smtp_replies.BAD_ATTRIBUTES)
        return None

    @syntax("XCLIENT name=value...")
    async def smtp_XCLIENT(self, arg: str | None) -> None:  # noqa: N802
        """Take the client over from a front MTA; the session begins anew (XCLIENT_README)."""
        client = await self._read_attributes(arg, XCLIENT_ATTRIBUTES)
        if client is None:
            return
        self._client = self._client.merged(client)
        self._set_rset_state()  # type: ignore[no-untyped-call]
        if self.session is not None:
            self.session.host_name = None
            self.session.extended_smtp = False
        await self.push(f"220 {self.hostname} {self.__ident__}")

    @syntax("XFORWARD name=value...")
    async def smtp_XFORWARD(self, arg: str | None) -> None:  # noqa: N802
        """Note whom a front MTA took the next mail from (XFORWARD_README)."""
        client = await self._read_attributes(arg, XFORWARD_ATTRIBUTES)
        if client is not None:
            self._forwarded = self._forwarded.merged(client)
            await self.push(smtp_replies.OK)

    def _set_post_data_state(self) -> None:
        self._forwarded = RealClient()
        super()._set_post_data_state()  # type: ignore[no-untyped-call]

    # -- commands that bring no mail

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: N802
        """Say that all is well, not for ever."""
        await self.count_idle_command()
        await super().smtp_NOOP(arg)

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        """Begin anew."""
        await self.count_idle_command()
        await super().smtp_RSET(arg)

    async def smtp_HELP(self, arg: str) -> None:  # noqa: N802
        """Name our commands."""
        await self.count_idle_command()
        await super().smtp_HELP(arg)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """Go over to TLS."""
        if arg:
            await self.push(smtp_replies.NO_ARGUMENT)
        elif self.tls_context is None:
            await self.push(smtp_replies.NO_TLS_HERE)
        elif self._tls_protocol:
            await self.push(smtp_replies.TLS_ALREADY)
        else:
            await self.start_tls(self.tls_context)

    # -- commands

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Read `<address> parameters`: the usual form by pattern, odd ones (quoted, routed) by aiosmtpd."""
        match = _PATH.fullmatch(arg.strip())
        if match:
            return match[1], match[2] or ""
        if arg.strip() == "<>":
            return "<>", ""
        postmaster = _POSTMASTER_PATH.fullmatch(arg.strip())
        if postmaster:
            return postmaster[1], postmaster[2] or ""
        try:
            address, rest = super()._getaddr(arg)
        except (MessageError, IndexError, ValueError, AttributeError, RecursionError):
            return None, None  # known holes of the standard library's address parser
        return address, rest

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """Name our extensions (RFC 1869), in one write."""
        if not hostname:
            await self.push(smtp_replies.BAD_HELLO)
            return
        await self.count_idle_command()
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self._greet(hostname)
        lines = [self.hostname, f"SIZE {self.data_size_limit}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        if self.tls_context and not self._tls_protocol:
            lines.append("STARTTLS")
        if self._names_client:
            lines += [
                f"XCLIENT {' '.join(sorted(XCLIENT_ATTRIBUTES))}",
                f"XFORWARD {' '.join(sorted(XFORWARD_ATTRIBUTES))}",
            ]
        lines += ["ENHANCEDSTATUSCODES", "HELP"]
        marks = ["-"] * (len(lines) - 1) + [" "]
        self._writer.write("".join(f"250{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode())
        await self._writer.drain()

    def _greet(self, hostname: str) -> None:
        if self.session is not None:
            self.session.extended_smtp = True
            self.session.host_name = hostname

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        """Answer with our name alone: RFC 2034 §4 has no enhanced status here."""
        if not hostname:
            await self.push(smtp_replies.BAD_HELLO)
            return
        await self.count_idle_command()
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self._greet(hostname)
        if self.session is not None:
            self.session.extended_smtp = False
        await super().push(f"250 {self.hostname}")

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, _arg: str) -> None:  # noqa: N802
        """Tell nobody who has a mailbox (RFC 5321 §7.3)."""
        await self.count_idle_command()
        await self.push(smtp_replies.CANNOT_VERIFY)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Take a mail; the reply comes only after it is committed (P1)."""
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push(smtp_replies.NEED_RECIPIENT)
            return
        if arg:
            await self.push(smtp_replies.NO_ARGUMENT)
            return
        self.is_busy = True
        try:
            await self.push(smtp_replies.SEND_DATA)
            self._begin_data()
            content = await read_data(self._reader, limit_bytes=self._hub.settings.max_message_bytes)
            self._data_at = None
            self._idle_commands = 0
            await self._answer_data(await self._take(content, envelope), recipients=len(envelope.rcpt_tos))
        except DataOverrunError:
            await self.hang_up(smtp_replies.TOO_BIG)
        finally:
            self.is_busy = self._is_registering = False
            self._data_at = None
            self._set_post_data_state()
        self._reset_timeout()
        if self._hub.is_closing:
            await self.close(smtp_replies.SHUTTING_DOWN)

    async def _take(self, content: bytes | None, envelope: Envelope) -> str:
        """Return the reply to a mail; `content` None: it is too large."""
        if content is None:
            return smtp_replies.TOO_BIG
        if count_hops(content) > MAX_HOPS:
            logger.warning("smtp.loop_refused", size_bytes=len(content))
            return smtp_replies.TOO_MANY_HOPS
        self._is_registering = True
        return await self._hub.service.deliver(content, self._smtp_envelope(envelope))

    async def _answer_data(self, reply: str, *, recipients: int) -> None:  # noqa: ARG002 - LMTP needs it
        await self.push(reply)

    def _smtp_envelope(self, envelope: Envelope) -> SmtpEnvelope:
        mail_from = envelope.mail_from or ""
        client = self._client.merged(self._forwarded)
        peer, host_name = self.peer_address, self.session.host_name if self.session is not None else None
        return SmtpEnvelope(
            mail_from="" if mail_from == "<>" else mail_from,
            rcpt_to=tuple(envelope.rcpt_tos),
            peer=peer if client.address is None else client.address,
            front="" if client.address is None else peer,
            helo=(host_name or "") if client.helo is None else client.helo,
            protocol=self.protocol_name,
        )
