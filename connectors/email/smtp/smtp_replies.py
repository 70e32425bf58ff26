"""SMTP reply texts, each with an enhanced status code (RFC 3463, RFC 2034), also where aiosmtpd has none."""

from functools import lru_cache

GREETING_CODES = frozenset({"220", "250", "354"})  # RFC 2034 §4: never in the greeting, EHLO's answer and 354
SENDER_OK = "250 2.1.0 Sender accepted"
RECIPIENT_OK = "250 2.1.5 Recipient accepted"
OK = "250 2.0.0 OK"
BYE = "221 2.0.0 Bye"
CANNOT_VERIFY = "252 2.1.5 Cannot verify; send mail to find out"
UNKNOWN_RECIPIENT = "550 5.1.1 No such mailbox here"
BAD_ADDRESS = "553 5.1.3 Malformed address"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients"
TOO_MANY_CONNECTIONS = "421 4.7.0 Too many connections, try again later"
TOO_MANY_FROM_ADDRESS = "421 4.7.0 Too many connections from your address, try again later"
TOO_MANY_ERRORS = "421 4.7.0 Too many errors, goodbye"
TOO_MANY_COMMANDS = "421 4.7.0 Too many commands without a mail, goodbye"
TOO_MANY_HOPS = "554 5.4.6 Too many hops: this mail goes round in a loop"
NOT_A_FRONT = "421 4.7.0 Only our front servers may connect here"
NOT_AUTHORISED = "550 5.7.0 You may not say who the client is"
NOT_NOW = "503 5.5.1 Not in the midst of a mail"
BAD_ATTRIBUTES = "501 5.5.4 Malformed attributes"
NEED_TLS = "530 5.7.0 Send STARTTLS first"
NO_TLS_HERE = "454 4.7.0 TLS is not available"
TLS_ALREADY = "503 5.5.1 TLS is in use already"
NOTHING_AFTER_STARTTLS = "503 5.5.1 Nothing may be sent along with STARTTLS, goodbye"
SHUTTING_DOWN = "421 4.3.2 Shutting down, try again later"
TOO_SLOW = "421 4.4.2 Timed out waiting for you"
TOO_BIG = "552 5.3.4 Message is larger than this system takes"
KEPT = "250 2.6.0 Kept for a person to look at"
TRY_LATER = "451 4.3.0 Cannot keep the message now, try again later"
UNKNOWN_COMMAND = "500 5.5.1 Command not recognized"
NEED_RECIPIENT = "503 5.5.1 Send RCPT first"
BAD_HELLO = "501 5.5.4 Say which host you are"
NO_ARGUMENT = "501 5.5.4 No argument allowed"
SEND_DATA = "354 End data with <CR><LF>.<CR><LF>"

# What aiosmtpd's own replies mean, by their basic code (RFC 3463 §3).
_ENHANCED = {
    "214": "2.0.0",
    "220": "2.0.0",  # to STARTTLS; the greeting is not asked about
    "221": "2.0.0",
    "235": "2.7.0",
    "250": "2.0.0",
    "252": "2.1.5",
    "421": "4.3.2",
    "450": "4.2.0",
    "451": "4.3.0",
    "452": "4.5.3",
    "454": "4.7.0",
    "500": "5.5.2",
    "501": "5.5.4",
    "502": "5.5.1",
    "503": "5.5.1",
    "504": "5.5.4",
    "530": "5.7.0",
    "535": "5.7.8",
    "538": "5.7.11",
    "550": "5.1.1",
    "552": "5.3.4",
    "553": "5.1.3",
    "554": "5.7.0",
    "555": "5.5.4",
}


def registered(number: str) -> str:
    """Return the reply to a mail that is registered under `number`."""
    return f"250 2.0.0 registered as {number}"


@lru_cache(maxsize=512)
def enhanced(reply: str) -> str:
    """Return `reply` with an enhanced status code; as it is if it has one, or if its code takes none (354)."""
    code, text = reply[:3], reply[4:]
    if reply.startswith("500 Error: command "):  # aiosmtpd repeats what it was sent
        return UNKNOWN_COMMAND
    status = _ENHANCED.get(code)
    if status is None or reply[3:4] == "-" or _has_status(text):
        return reply
    return f"{code} {status} {text.removeprefix('Error: ')}"


def _has_status(text: str) -> bool:
    parts = text.partition(" ")[0].split(".")
    return len(parts) == 3 and all(part.isdigit() for part in parts)  # noqa: PLR2004 - class.subject.detail
