"""What goes through the local Bot API server: the bot's messages, citizens' files, and the form of its answers."""

from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, kw_only=True, slots=True)
class SentMessage:
    """One message that the bot sent."""

    method: str  # sendMessage, sendDocument, sendPhoto
    chat_id: int
    message_id: int
    text: str  # or the caption
    file_name: str = ""
    content: bytes = b""
    keyboard: tuple[tuple[dict[str, str], ...], ...] = ()  # inline buttons: text and callback_data
    answers: int | None = None  # the message it is shown under
    business_connection_id: str = ""

    def button(self, text: str) -> str:
        """Return the callback data of the button whose text ends with `text`. Raises KeyError."""
        for button in (button for row in self.keyboard for button in row):
            if button["text"].endswith(text):
                return button["callback_data"]
        raise KeyError(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingFile:
    """A file that a citizen sends."""

    content: bytes
    name: str = ""
    media_type: str = ""


@dataclass(kw_only=True, slots=True)
class Failure:
    """How a call is to fail."""

    status: int
    description: str
    parameters: dict[str, int] = field(default_factory=dict)


def result(value: object) -> web.Response:
    """Return a method's success."""
    return web.json_response({"ok": True, "result": value})


def refused(status: int, description: str, *, parameters: dict[str, int] | None = None) -> web.Response:
    """Return a method's refusal."""
    answer: dict[str, object] = {"ok": False, "error_code": status, "description": description}
    return web.json_response(answer | ({"parameters": parameters} if parameters else {}), status=status)
