"""Settings of the channels, and of what is done with their messages: a section each."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from config.section import KIB, MIB, AbsolutePath, Networks, Port, Section


def _check_names(mailboxes: "tuple[ImapMailbox, ...]") -> "tuple[ImapMailbox, ...]":
    keys = [mailbox.key for mailbox in mailboxes]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two mailboxes are called {', '.join(doubled)}: give each a name of its own")
    return mailboxes


class ImapMailbox(Section):
    """One account whose folders are read over IMAP, each over a connection of its own."""

    name: str = Field(default="", max_length=100)  # names its cursors: keep it when the server changes; empty: username
    host: str = Field(min_length=1)
    port: Port | None = None  # None: 993 with tls, else 143
    tls: Literal["tls", "starttls", "none"] = "tls"
    tls_ca_file: AbsolutePath | None = None  # certificates (PEM) to trust instead of the system's
    username: str = Field(min_length=1)
    password: SecretStr = SecretStr("")
    auth: Literal["login", "xoauth2"] = "login"
    token_file: AbsolutePath | None = None  # xoauth2: read at each log-in …
    token_command: tuple[str, ...] = ()  # … or the output of this program
    address: str = ""  # ours, at which the account gets its mail; added to the recipients
    folders: tuple[str, ...] = Field(default=("INBOX",), min_length=1, max_length=20)
    since: Literal["new", "all"] | date = "new"  # of what is there at the first connection; later nothing is left out
    # What is done with a mail once it is registered.
    after: str = Field(default="keep", pattern=r"^(keep|mark_seen|delete|move:.+)$")
    poll_interval_s: float = Field(default=60.0, gt=0)  # where the server has no IDLE
    idle_renew_s: float = Field(default=540.0, gt=0, lt=29 * 60)  # RFC 2177; routers forget quiet connections earlier

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.auth == "login" and not self.password.get_secret_value():
            raise ValueError("auth: login needs a password")
        if self.auth == "xoauth2" and bool(self.token_file) == bool(self.token_command):
            raise ValueError("auth: xoauth2 needs token_file or token_command")
        if len(set(self.folders)) < len(self.folders) or self.after.removeprefix("move:") in self.folders:
            raise ValueError("folders must differ from each other and from the one that mail is moved to")
        return self

    @property
    def key(self) -> str:
        """What the mailbox is called in cursors, logs and health."""
        return self.name or self.username


class RelayServer(Section):
    """A server that takes our mail and passes it on."""

    host: str = Field(min_length=1)
    port: Port = 25
    tls: Literal["none", "starttls", "tls"] = "none"  # the certificate is checked, and must be for `host`
    ca_file: AbsolutePath | None = None  # certificates (PEM) to trust instead of the system's
    username: str = ""
    password: SecretStr = SecretStr("")


class DkimKey(Section):
    """A key that signs what we send (RFC 6376); its public half is at SELECTOR._domainkey.DOMAIN in the DNS."""

    selector: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$")
    domain: str = ""  # d=; empty: the sender's
    key_file: AbsolutePath  # PEM: RSA of at least 1024 bits, or Ed25519 (RFC 8463)


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, Mapping) else value


def _check_number_pattern(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if "number" not in groups:
        raise ValueError("the pattern needs a group (?P<number>…) around the sender's number")
    return pattern


class FaxMailGateway(Section):
    """A service that passes faxes on as mail: what it sends with a PDF or TIFF is a fax of the number it names."""

    sender: str = Field(min_length=3)  # of its mails, a pattern: *@fax.example
    # A regular expression, searched for in the subject, the text and the files' names.
    number: Annotated[str, AfterValidator(_check_number_pattern)] = r"(?P<number>\+\d[\d ()-]{6,20}\d)"
    default_region: str = "RU"  # how to read numbers without a country code


class EmailSettings(Section):
    """Mail in over SMTP and LMTP, out over a relay."""

    enabled: bool = True
    host: str = "127.0.0.1"
    smtp_port: Port = 8025
    lmtp_port: Port | None = None  # None: no LMTP server
    hostname: str = "okno.localhost"  # in greetings, Message-IDs
    mailboxes: tuple[str, ...] = ("appeals@okno.localhost",)  # recipients we take mail for; anything else is refused
    sender: str = "appeals@okno.localhost"  # From of what we send
    max_message_bytes: int = Field(default=25 * MIB, ge=KIB)
    max_connections: int = Field(default=200, ge=1)  # a listener
    max_connections_per_address: int = Field(default=20, ge=1)  # IPv6: of one /64; trusted networks are not counted
    max_recipients: int = Field(default=50, ge=1)
    max_errors: int = Field(default=20, ge=1)  # refusals in one connection, then it is hung up on
    max_idle_commands: int = Field(default=100, ge=1)  # NOOP, RSET and the like without a mail in between
    command_timeout_s: float = Field(default=60.0, gt=0)
    data_timeout_s: float = Field(default=600.0, gt=0)  # of one mail, from DATA to its end
    data_min_bytes_per_s: int = Field(default=100, ge=0)  # the mean of one mail, once command_timeout_s have passed
    postmaster: str = ""  # which of the mailboxes gets postmaster@ (RFC 5321 §4.5.1); empty: the first
    tls_certificate: Path | None = None  # PEM with its chain: STARTTLS is offered; renewed files are read by themselves
    tls_key: Path | None = None  # PEM; None: it is in the certificate's file
    require_tls: bool = False  # SMTP: nothing but STARTTLS in the clear
    smtps_port: Port | None = None  # TLS from the first byte; None: no such port
    trusted_networks: Networks = ("127.0.0.0/8", "::1/128")  # front MTAs: not limited, not checked, believed
    client_address: Literal["peer", "xclient", "proxy"] = "peer"  # how a front MTA names the real client
    authenticity: bool = True  # check SPF, DKIM and DMARC of mail that comes from outside the trusted networks
    authenticity_timeout_s: float = Field(default=2.0, gt=0)  # no mail waits longer for DNS
    trusted_authserv_ids: tuple[str, ...] = ()  # whose Authentication-Results are taken over (RFC 8601)
    dns_servers: tuple[str, ...] = ()  # "address" or "address:port"; empty: the system's
    relay_host: str = "127.0.0.1"
    relay_port: Port = 25
    relay_tls: Literal["none", "starttls", "tls"] = "none"
    relay_username: str = ""
    relay_password: SecretStr = SecretStr("")
    relay_ca_file: AbsolutePath | None = None  # certificates (PEM) to trust instead of the system's
    relay_fallbacks: tuple[RelayServer, ...] = ()  # tried in this order when those before cannot be used
    dsn: tuple[Literal["failure", "delay", "success"], ...] = ("failure", "delay")  # reports asked for (RFC 3461)
    read_receipts: bool = False  # ask for one with every answer (RFC 8098); many citizens mind
    return_path: str = ""  # SMTP sender of what we send: bounces go there; empty: the sender. One of the mailboxes
    verp: bool = False  # a plus-part of its own for each mail's return path, for bounces that say nothing
    dkim: Annotated[tuple[DkimKey, ...], BeforeValidator(_as_list)] = ()  # each signs: RSA and Ed25519 side by side
    imap: Annotated[tuple[ImapMailbox, ...], AfterValidator(_check_names)] = ()
    fax_gateways: tuple[FaxMailGateway, ...] = ()  # senders whose mails are faxes


class SmsSettings(Section):
    """SMS through a provider: signed posts in, its HTTP API out."""

    enabled: bool = False
    provider: Literal["twilio", "vonage"] = "twilio"
    account_sid: str = ""  # Vonage: the API key
    auth_token: SecretStr = SecretStr("")  # Vonage: the API secret
    signature_secret: SecretStr = SecretStr("")  # Vonage's alone: its posts are signed with it (SHA-256 HMAC)
    number: str = ""  # ours, E.164: From of what we send
    default_region: str = "RU"  # how to read numbers without a country code
    api_url: str = ""  # empty: the provider's own
    media_hosts: tuple[str, ...] = ("api.twilio.com", ".twiliocdn.com", "s3-external-1.amazonaws.com")
    # ^ MMS media is fetched from these only, and credentials go to the API's host alone
    smart_encoding: bool = True  # write typographic quotes and dashes plainly where that halves the price
    price_per_part: Decimal | None = Field(default=None, ge=0)  # shown to the agent before an answer is sent
    currency: str = Field(default="RUB", pattern=r"^[A-Z]{3}$")  # ISO 4217


class TelegramSettings(Section):
    """A bot: polling, or a webhook with a secret."""

    enabled: bool = False
    token: SecretStr = SecretStr("")
    mode: Literal["polling", "webhook"] = "polling"
    webhook_secret: SecretStr = SecretStr("")  # the {secret} of /hooks/telegram/{secret} and the header's token
    api_url: str = "https://api.telegram.org"
    max_file_bytes: int = Field(default=20 * MIB, ge=0)  # the Bot API's own limit for downloads
    poll_timeout_s: float = Field(default=10.0, ge=0)
    album_linger_s: float = Field(default=1.0, gt=0, le=30)  # after its last part an album is registered
    consent: dict[Literal["ru", "en"], str] = Field(default_factory=dict)  # what citizens agree to; empty: not asked
    topic_buttons: bool = True  # under the acknowledgement: the citizen may choose the topic
    rating_buttons: bool = True  # under an answer: 1 to 5


class KioskDevice(Section):
    """One kiosk that may write to us."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str = ""
    secrets: tuple[SecretStr, ...] = Field(min_length=1)  # whsec_…; more than one while a key is rotated
    address: str = ""
    revoked: bool = False


class KioskSettings(Section):
    """Kiosks: forms in over Standard Webhooks; answers are fetched by the kiosk or posted to `answer_url`."""

    enabled: bool = False
    devices: tuple[KioskDevice, ...] = ()  # besides those that `okno kiosk add` made
    answer_url: str = ""  # where answers are posted, signed; empty: the kiosk shows them by number and code
    forms: Path | None = None  # None: the forms that come with Okno
    page: bool = True  # serve the kiosk page at /kiosk/
    idle_s: float = Field(default=60.0, ge=10)  # the page forgets the citizen after so long without a touch
    max_body_bytes: int = Field(default=25 * MIB, ge=KIB)  # one form, its scans and photos included
    max_batch_bytes: int = Field(default=512 * MIB, ge=KIB)  # stored forms in one go; kept in a file meanwhile
    max_offline_days: float = Field(default=30.0, gt=0)  # an older time of a stored form is not believed
    silent_after_s: float = Field(default=900.0, gt=0)  # a kiosk that has reported and is silent for so long is named


class TelnyxFaxSettings(Section):
    """The gateway Telnyx, Programmable Fax v2. It is in use once `public_key` is set."""

    api_url: str = "https://api.telnyx.com"
    api_key: SecretStr = SecretStr("")
    connection_id: str = ""  # of the fax application
    public_key: str = ""  # of the account, Base64: checks the calls to our hook
    number: str = ""  # ours there, E.164; empty: fax.number
    tolerance_s: float = Field(default=300.0, gt=0)  # an older call is refused: it may be a repeated recording
    media_hosts: tuple[str, ...] = ("*.telnyx.com", "*.telnyxstorage.com", "*.amazonaws.com")  # faxes are fetched there


class FaxSettings(Section):
    """Fax: two HTTP gateways (Sinch here, Telnyx in its own section) and a watched folder."""

    enabled: bool = False
    gateway: Literal["sinch", "telnyx"] = "sinch"  # the one that sends; both receive, if both are set up
    api_url: str = "https://fax.api.sinch.com"
    project_id: str = ""
    key_id: str = ""
    key_secret: SecretStr = SecretStr("")
    webhook_username: str = ""  # the gateway signs in to our hook with these (HTTP Basic)
    webhook_password: SecretStr = SecretStr("")
    telnyx: TelnyxFaxSettings = TelnyxFaxSettings()
    number: str = ""  # ours, E.164
    default_region: str = "RU"  # how to read a machine's own number without a country code
    spool_dir: Path | None = None  # TIFF and PDF files put here are taken in; None: not watched
    spool_layout: Literal["plain", "hylafax"] = "plain"  # hylafax: `spool_dir` is HylaFAX's recvq
    hylafax_log: Path | None = None  # HylaFAX's etc/xferfaxlog: who called; None: what the TIFF itself says
    fetch_for_hours: float = Field(default=24.0, gt=0)  # a fax's pages are tried for so long while they cannot be had
    max_body_bytes: int = Field(default=50 * MIB, ge=KIB)
    max_pages: int = Field(default=200, ge=1)


class RecognitionSettings(Section):
    """Text recognition on faxes and scans, with Tesseract where it is installed."""

    enabled: bool = True
    command: str = "tesseract"
    languages: tuple[str, ...] = ("rus", "eng")  # Tesseract's names, the most likely first
    min_confidence: float = Field(default=0.75, ge=0, le=1)  # below it an agent types the text in
    max_pages: int = Field(default=30, ge=1)  # of one message
    page_timeout_s: float = Field(default=120.0, gt=0)
    processes: int = Field(default=0, ge=0)  # pages at a time; 0: one for each processor


class ConsentText(Section):
    """What a citizen agrees to on the form, in the page's languages. What was shown is kept with the appeal."""

    ru: str = Field(
        default=(
            "Я согласен на обработку моих персональных данных для рассмотрения этого обращения "
            "(Федеральный закон от 27.07.2006 № 152-ФЗ)."
        ),
        min_length=1,
        max_length=4000,
    )
    en: str = Field(
        default="I agree that my personal data is processed to deal with this appeal (Federal Law 152-FZ).",
        min_length=1,
        max_length=4000,
    )


class WebSettings(Section):
    """The form on the citizen's page. Proof of work, a honeypot and limits by address keep machines away."""

    enabled: bool = False
    consent: ConsentText = ConsentText()
    answer_by: tuple[Literal["email", "phone"], ...] = ("email",)  # what the form offers beside the page itself
    default_region: str = "RU"  # how to read telephone numbers without a country code
    max_text_chars: int = Field(default=20_000, ge=100, le=200_000)
    max_files: int = Field(default=10, ge=0, le=50)
    max_file_bytes: int = Field(default=20 * MIB, ge=KIB, le=60 * MIB)
    max_total_bytes: int = Field(default=40 * MIB, ge=KIB, le=60 * MIB)  # all files together
    difficulty_bits: int = Field(default=17, ge=0, le=24)  # of the proof of work: each bit doubles it
    challenge_ttl_s: float = Field(default=3600.0, gt=60)
    submissions_per_hour: int = Field(default=30, ge=1)  # an address; thousands may share one behind a mobile operator
    plain_submissions_per_hour: int = Field(default=10, ge=0)  # … without JavaScript, so without proof of work; 0: off


class PaperSettings(Section):
    """Letters and visits that agents register, and answers as printed letters."""

    enabled: bool = False
    max_days_back: int = Field(default=60, ge=0)  # a letter may have been received so long before it is registered
    default_region: str = "RU"  # how to read telephone numbers without a country code
    letterhead: tuple[str, ...] = ()  # lines under the office's name: address, telephone
    address_window: Literal["left", "right"] = "right"  # of the office's DL or E65 envelopes
    max_scans: int = Field(default=30, ge=1, le=100)  # files of one letter
    max_scan_bytes: int = Field(default=25 * MIB, ge=KIB, le=60 * MIB)
    max_total_bytes: int = Field(default=60 * MIB, ge=KIB, le=60 * MIB)  # all scans of one letter together
    max_pages: int = Field(default=200, ge=1)


class AttachmentSettings(Section):
    """Screening of attached files, on every channel. What is over a limit is kept and marked, never refused."""

    max_count: int = Field(default=100, ge=1)  # files of one message; more stay in the original alone
    max_file_bytes: int = Field(default=50 * MIB, ge=KIB)
    max_pages: int = Field(default=2000, ge=1)  # of a PDF or TIFF
    max_pixels: int = Field(default=120_000_000, ge=1)  # of one picture or page; A3 at 600 dpi has 70 million
    max_unpacked_bytes: int = Field(default=500 * MIB, ge=MIB)  # of an archive with those inside it, or a document
    max_entries: int = Field(default=10_000, ge=1)  # of an archive with those inside it
    max_nesting: int = Field(default=3, ge=1)  # archives within archives
    budget_s: float = Field(default=5.0, gt=0)  # for the look into the files of one message; then they are `unchecked`
    # unix:/run/clamav/clamd.ctl or tcp://host:3310; empty: files are not looked through for viruses.
    clamav: str = Field(default="", pattern=r"^(|unix:/.+|tcp://.+:\d+)$")
    clamav_timeout_s: float = Field(default=10.0, gt=0)  # hooks give up after 15 s and come again
