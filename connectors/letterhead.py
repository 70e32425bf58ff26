"""The frame around an answer: who writes, about which appeal, and where it can be followed."""

from dataclasses import dataclass

from appeals.appeal import Appeal
from appeals.envelope import Channel
from appeals.reply import Reply, ReplyKind
from config.settings import OfficeSettings
from config.templates import MessageTemplates, fill


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterhead:
    """Puts the office's frame around answers and notices, in the citizen's language.

    The registry keeps the agent's own words; the frame is put around them when they are sent. Acknowledgements have
    texts of their own.
    """

    templates: MessageTemplates
    office: OfficeSettings
    public_url: str  # no trailing slash

    def frame(self, reply: Reply, appeal: Appeal) -> str:
        """Return the reply's text as it goes out: the long form by mail, the short one by every other channel."""
        if reply.kind is ReplyKind.ACKNOWLEDGEMENT:
            return reply.text
        texts = self.templates.languages[self.templates.language(reply.language, default=self.office.language)]
        frame = texts.notice if reply.kind is ReplyKind.NOTICE else texts.answer
        words = {
            "text": reply.text.rstrip(),
            "number": appeal.number,
            "url": f"{self.public_url}/status#n={appeal.number}",
            "office": self.office.name,
        }
        return fill(frame.text if reply.channel is Channel.EMAIL else frame.short, words)
