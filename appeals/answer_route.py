"""By which connector the citizen is written to: the one that speaks the language of their address."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from appeals.envelope import AppealEnvelope, Channel, ContactPoint, ContactPointKind

SPEAKS: Mapping[ContactPointKind, Channel] = {
    ContactPointKind.EMAIL: Channel.EMAIL,
    ContactPointKind.PHONE: Channel.SMS,
    ContactPointKind.FAX: Channel.FAX,
    ContactPointKind.TELEGRAM: Channel.TELEGRAM,
}
"""Which channel reaches a kind of address. Kiosk, web and paper have no address of their own kind to send to."""

ANY_ADDRESS = frozenset({Channel.WEB, Channel.KIOSK, Channel.PAPER, Channel.IN_PERSON})
"""Channels whose citizens may name an address of another kind for the answer."""

ADDITION = "addition"
"""Mark of a message that was added on the citizen's page: answers go where they went before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRoutes:
    """The connectors that there are: name → the channel it speaks."""

    connectors: Mapping[str, Channel] = field(default_factory=dict)

    def to(self, recipient: ContactPoint, envelope: AppealEnvelope) -> tuple[Channel, str]:
        """Return channel and connector that reach `recipient`: those the message came by, unless its kind is another's.

        Without a connector for the recipient's kind it is the message's own, which says what can be done.
        """
        own = self.connectors.get(envelope.connector, envelope.channel)
        wanted = SPEAKS.get(recipient.kind, own)
        if wanted is not own:
            for name, channel in self.connectors.items():
                if channel is wanted:
                    return channel, name
        return envelope.channel, envelope.connector


def answer_to(envelope: AppealEnvelope, sender: ContactPoint) -> ContactPoint:
    """Return where answers go: the address named for answers, else the sender.

    Where the sender's own address is proven by the channel, only one of the same kind counts (Reply-To of a mail).
    """
    reply_to = envelope.reply_to
    if reply_to is not None and (reply_to.kind is sender.kind or envelope.channel in ANY_ADDRESS):
        return reply_to
    return sender
