"""The appeals that the demo sends: written for Okno, Russian and English, all topics, thanks and advertisements too."""

import json
from dataclasses import dataclass
from pathlib import Path

import config
from appeals.envelope import Channel

DEMO_MESSAGES = Path(config.__file__).parent / "defaults" / "demo_messages.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoMessage:
    """One appeal to send. What a citizen without a subject wrote on a phone has an empty one."""

    topic: str  # what it is about, to compare with what the classifier says
    language: str  # ru or en
    sender: str  # a person, or who signs
    subject: str
    text: str

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels on which such a message is believable."""
        if not self.subject:
            return frozenset({Channel.SMS, Channel.TELEGRAM})
        return frozenset({Channel.EMAIL, Channel.KIOSK, Channel.FAX, Channel.WEB, Channel.TELEGRAM})


def load_demo_messages(path: Path = DEMO_MESSAGES) -> tuple[DemoMessage, ...]:
    """Read the demo's appeals, in the order of the file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(DemoMessage(**json.loads(line)) for line in lines if line.strip())


def messages_for(channel: Channel, messages: tuple[DemoMessage, ...]) -> tuple[DemoMessage, ...]:
    """Return those of `messages` that suit `channel`."""
    return tuple(message for message in messages if channel in message.channels)
