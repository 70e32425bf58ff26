"""Connecting to an IMAP server and logging in: TLS, LOGIN, SASL PLAIN, XOAUTH2."""

import contextlib
import imaplib
import re
import ssl
import subprocess

from appeals.errors import TransientError
from config.channel_settings import ImapMailbox
from connectors.email.imap.imap_wire import WireClient

CONNECT_TIMEOUT_S = 20.0
TOKEN_COMMAND_TIMEOUT_S = 30.0
MAX_REASON_CHARS = 200
TLS_PORT, PLAIN_PORT = 993, 143  # RFC 8314 §7.3, RFC 9051 §2.1
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]+")
_UNSHOWABLE = re.compile(r"[^\x20-\x7e\u00a0-\uffff]+")


class ImapError(TransientError):
    """The server, or the way to it, is not as it should be; a new connection may find it better."""


class LogInError(ImapError):
    """The server does not let us in: tried again slowly, or it would lock the account."""


def server_text(text: object, *, secret: str = "") -> str:
    """Return what a server said for operators: one short line without the secret that it may repeat."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    line = " ".join(_UNSHOWABLE.sub(" ", words).split())
    return (line.replace(secret, "***") if secret else line)[:MAX_REASON_CHARS]


def connect(mailbox: ImapMailbox) -> WireClient:
    """Return a connection that is logged in. Raises LogInError, OSError, or what imaplib raises.

    Blocks for up to a minute or so. Certificates are checked, against `tls_ca_file` if there is one.
    """
    secret = _secret(mailbox)
    context = _tls_context(mailbox) if mailbox.tls != "none" else None
    port = mailbox.port or (TLS_PORT if mailbox.tls == "tls" else PLAIN_PORT)
    client = WireClient(
        mailbox.host, port, tls=context if mailbox.tls == "tls" else None, connect_timeout_s=CONNECT_TIMEOUT_S
    )
    try:
        if context is not None and mailbox.tls == "starttls":
            _start_tls(client, mailbox, context)
        _log_in(client, mailbox, secret)
    except BaseException:
        with contextlib.suppress(OSError):
            client.shutdown()
        raise
    return client


def _tls_context(mailbox: ImapMailbox) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=mailbox.tls_ca_file)
    except OSError as error:
        raise LogInError(f"tls_ca_file of mailbox {mailbox.key} cannot be used: {error.strerror or error}") from error


def _start_tls(client: WireClient, mailbox: ImapMailbox, context: ssl.SSLContext) -> None:
    if not client.has_capability("STARTTLS"):
        raise LogInError(f"{mailbox.host} offers no STARTTLS: set tls to `tls` for mailbox {mailbox.key}")
    client.starttls(context)


def _secret(mailbox: ImapMailbox) -> str:
    """Return the password or a fresh access token."""
    if mailbox.auth == "login":
        return mailbox.password.get_secret_value()
    try:
        token = _read_token(mailbox)
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        raise LogInError(f"no access token for mailbox {mailbox.key}: {type(error).__name__}") from error
    if not token:
        raise LogInError(f"no access token for mailbox {mailbox.key}: token_file or token_command gives nothing")
    return token


def _read_token(mailbox: ImapMailbox) -> str:
    if mailbox.token_file is not None:
        return mailbox.token_file.read_text("utf-8").strip()
    done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
        mailbox.token_command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=TOKEN_COMMAND_TIMEOUT_S,
    )
    return done.stdout.decode("utf-8").strip()


def _log_in(client: WireClient, mailbox: ImapMailbox, secret: str) -> None:
    if client.wire.state != "NONAUTH":  # PREAUTH: a tunnel that has logged in for us
        return
    try:
        _authenticate(client, mailbox, secret)
    except imaplib.IMAP4.abort:  # the connection broke: that says nothing about the password
        raise
    except imaplib.IMAP4.error as error:
        text = server_text(error, secret=secret)
        if "UNAVAILABLE" in text or "INUSE" in text:  # RFC 5530: not the password's fault
            raise ImapError(f"{mailbox.host} cannot log anybody in now: {text}") from error
        raise LogInError(
            f"{mailbox.host} refuses the log-in of {mailbox.username}: {text}; "
            f"check username and {'password' if mailbox.auth == 'login' else 'token'} of mailbox {mailbox.key}"
        ) from error


def _authenticate(client: WireClient, mailbox: ImapMailbox, secret: str) -> None:
    if mailbox.auth == "xoauth2":
        client.oauth2_login(mailbox.username, secret)
    elif client.has_capability("AUTH=PLAIN"):  # unlike LOGIN it takes any letters (RFC 4616)
        client.plain_login(mailbox.username, secret)
    elif client.has_capability("LOGINDISABLED"):
        raise LogInError(f"{mailbox.host} takes no password on this connection: set tls of mailbox {mailbox.key}")
    elif not (mailbox.username + secret).isascii():
        raise LogInError(f"{mailbox.host} takes only Latin letters in the username and password of {mailbox.key}")
    else:
        client.login(_astring(mailbox.username), secret)


def _astring(text: str) -> str:
    """Return a username as LOGIN takes it (RFC 3501 §9); imaplib quotes the password alone."""
    if _ATOM.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
