"""Twilio's form posts: their signature, and what an incoming message says.

https://www.twilio.com/docs/usage/webhooks/messaging-webhooks and …/webhooks-security
"""

import re
from urllib.parse import parse_qsl

from multidict import MultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from appeals.errors import DecodeError
from connectors.media import clean_text
from connectors.sms.numbers import to_e164
from connectors.sms.provider import IncomingSms, MediaLink, OptOut

FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 500  # Twilio posts about 30, and 2 for each of at most 10 media
MAX_MEDIA = 10  # Twilio's limit for one MMS
MAX_ADDRESS_CHARS = 64  # of senders that are no telephone number

_KEPT_FIELDS = {  # what may help an agent; the whole form stays in the raw blob
    "FromCity": "from_city",
    "FromState": "from_state",
    "FromCountry": "from_country",
    "NumSegments": "segments",
}
_SID = re.compile(r"[A-Za-z0-9]{1,64}")  # a SID has 34 characters


class Signature:
    """Checks X-Twilio-Signature: HMAC-SHA1 over the public URL and the sorted fields, keyed with the auth token."""

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)

    def matches(self, url: str, form: MultiDict[str], *, signature: str) -> bool:
        """Tell whether Twilio signed this post. `url` is the public one, with its query. Never raises."""
        if not signature.isascii():
            return False
        try:
            return bool(self._validator.validate(url, form, signature))
        except ValueError:  # a URL or a field that cannot be what Twilio signed: lone surrogates, a port of letters
            return False


def parse_form(body: bytes) -> MultiDict[str]:
    """Return the fields of a form post. Raises DecodeError if the bytes are no form."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise DecodeError("the body is not a form", data=body) from error
    return MultiDict(pairs)


def read_message(form: MultiDict[str], *, default_region: str, body: bytes) -> IncomingSms:
    """Read an incoming message. Raises DecodeError (with `body`) if it lacks what every Twilio message has."""
    sid = form.get("MessageSid") or form.get("SmsSid") or form.get("SmsMessageSid") or ""
    if not _SID.fullmatch(sid):
        raise DecodeError("no usable MessageSid", data=body)
    sender = clean_text(form.get("From", "")).strip()
    recipient = clean_text(form.get("To", "")).strip()
    if not sender:
        raise DecodeError("no From", data=body)
    if ":" in sender or ":" in recipient:
        raise DecodeError("not an SMS: the addresses name another channel (whatsapp:, rcs:)", data=body)
    number = to_e164(sender, default_region=default_region)
    return IncomingSms(
        sid=sid,
        sender=number or sender[:MAX_ADDRESS_CHARS],
        sender_is_phone=number is not None,
        recipient=to_e164(recipient, default_region=default_region) or recipient[:MAX_ADDRESS_CHARS],
        text=clean_text(form.get("Body", "")),
        media=_media_of(form, body=body),
        fields={ours: clean_text(form[theirs]) for theirs, ours in _KEPT_FIELDS.items() if form.get(theirs)},
        opt_out=_opt_out(form.get("OptOutType", "")),
    )


def _opt_out(value: str) -> OptOut | None:
    """Read what Advanced Opt-Out found; a kind that came after us is left to the text."""
    return OptOut(value) if value in set(OptOut) else None


def _media_of(form: MultiDict[str], *, body: bytes) -> tuple[MediaLink, ...]:
    count = form.get("NumMedia", "0") or "0"
    if not (count.isascii() and count.isdigit() and int(count[:4]) <= MAX_MEDIA):
        raise DecodeError("NumMedia is not a number of media", data=body)
    return tuple(
        MediaLink(url=form.get(f"MediaUrl{at}", ""), media_type=form.get(f"MediaContentType{at}", ""))
        for at in range(int(count))
    )
