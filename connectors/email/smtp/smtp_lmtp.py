"""LMTP: what differs from SMTP (RFC 2033)."""

from aiosmtpd.smtp import syntax

from connectors.email.smtp import smtp_replies
from connectors.email.smtp.smtp_protocol import MailSmtp


class MailLmtp(MailSmtp):
    """One LMTP connection: LHLO, and after DATA one reply for each recipient."""

    protocol_name = "lmtp"
    takes_proxy_protocol = False

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802
        """Greet as EHLO does."""
        await super().smtp_EHLO(hostname)

    async def smtp_EHLO(self, _hostname: str) -> None:  # noqa: N802
        """Refuse: RFC 2033 §4.1."""
        await self.push(smtp_replies.UNKNOWN_COMMAND)

    async def smtp_HELO(self, _hostname: str) -> None:  # noqa: N802
        """Refuse: RFC 2033 §4.1."""
        await self.push(smtp_replies.UNKNOWN_COMMAND)

    async def _answer_data(self, reply: str, *, recipients: int) -> None:
        for _ in range(recipients):
            await self.push(reply)
