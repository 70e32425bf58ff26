"""Settings: frozen pydantic sections, read once by the composition root and handed out."""

from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, SecretStr

from config.channel_settings import (
    AttachmentSettings,
    EmailSettings,
    FaxSettings,
    KioskSettings,
    PaperSettings,
    RecognitionSettings,
    SmsSettings,
    TelegramSettings,
    WebSettings,
)
from config.section import KIB, MIB, Port, Section

RoleName = Literal["intake", "classify", "route", "deliver", "console"]
ALL_ROLES: tuple[RoleName, ...] = ("intake", "classify", "route", "deliver", "console")


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as Europe/Moscow") from error
    return name


class OfficeSettings(Section):
    """Who we are: shown to citizens and used in what we send."""

    name: str = "Okno"
    language: Literal["ru", "en"] = "ru"  # for citizens whose language is unknown
    timezone: Annotated[str, AfterValidator(_check_timezone)] = "Europe/Moscow"
    region: str = "RU-MOW"  # holidays of this region (ISO 3166-2)


class RegistrySettings(Section):
    """Where appeals are kept. Empty `url`: SQLite in the data folder."""

    url: str = ""  # sqlite:////path/okno.db or postgresql://user:password@host/db
    group_max_messages: int = Field(default=64, ge=1, le=1000)
    group_linger_ms: float = Field(default=8.0, ge=0, le=100)  # how long a first message waits for company, when busy
    inline_blob_max_bytes: int = Field(default=64 * KIB, ge=0)  # smaller blobs are committed with the appeal itself


class BlobSettings(Section):
    """Where larger blobs are kept. Empty `url`: files in the data folder; else any URL obstore knows (s3://…)."""

    url: str = ""
    options: dict[str, str] = Field(default_factory=dict)  # endpoint, keys


class QueueSettings(Section):
    """Where the queues are. `memory://` serves one process; several need Redis 7+ or Valkey."""

    url: str = "memory://"  # or redis://host:6379/0, rediss://, redis+sentinel://host:26379/0?service=mymaster
    max_tries: int = Field(default=5, ge=1)  # then the item is quarantined
    claim_idle_s: float = Field(default=30.0, gt=0)  # handed out and not acknowledged for so long: its worker is dead
    sweep_interval_s: float = Field(default=5.0, gt=0)
    stale_after_s: float = Field(default=30.0, gt=0)  # an appeal that stood in a state for so long is queued again


class HttpSettings(Section):
    """The one HTTP server: console, citizen's page, API, hooks, health."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: str = ""  # how the outside reaches us; empty: http://host:port
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-* are believed


class ClassifierSettings(Section):
    """Topic tagging. Empty `model`: the default model made at set-up."""

    model: Path | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)  # below it the appeal goes to triage
    batch: int = Field(default=200, ge=1)
    taxonomy: Path | None = None  # None: the one that comes with Okno


class RoutingSettings(Section):
    """The router. `rules` None: the rule file that comes with Okno."""

    rules: Path | None = None
    offer_timeout_s: float = Field(default=60.0, gt=0)
    decline_delay_s: float = Field(default=10.0, ge=0)  # before the agent's next offer after a decline
    timeout_delay_s: float = Field(default=30.0, ge=0)  # … after an offer timed out
    disconnect_delay_s: float = Field(default=0.0, ge=0)  # … after a lost connection came back
    disconnect_grace_s: float = Field(default=20.0, ge=0)  # a connection may be lost for so long
    wrap_up_s: float = Field(default=10.0, ge=0)
    misses_to_away: int = Field(default=3, ge=1)  # offers an agent lets time out in a row before they are set away
    resync_interval_s: float = Field(default=30.0, gt=0)  # between walks that look for what lost queue items left apart
    lease_ttl_s: float = Field(default=4.0, gt=0.5)
    tick_s: float = Field(default=0.25, gt=0)


class ConsoleSettings(Section):
    """Agents' console and citizen's page."""

    session_hours: float = Field(default=12.0, gt=0)
    presence_ttl_s: float = Field(default=15.0, gt=0)
    log_in_attempts_per_minute: int = Field(default=10, ge=1)
    status_attempts_per_minute: int = Field(default=20, ge=1)  # citizen's page, per address
    max_upload_bytes: int = Field(default=25 * MIB, ge=KIB)


class DeadlineSettings(Section):
    """Federal Law 59-FZ: art. 8 (registration, forwarding), art. 12 (answer, extension). Days are calendar days."""

    registration_days: int = Field(default=3, ge=0)
    forwarding_days: int = Field(default=7, ge=0)
    answer_days: int = Field(default=30, ge=1)
    extension_days: int = Field(default=30, ge=0)


class DeliverySettings(Section):
    """Sending of replies: retry with back-off."""

    give_up_after_s: float = Field(default=5 * 86400.0, gt=0)  # of trying; RFC 5321 §4.5.4.1: at least 4–5 days
    first_retry_s: float = Field(default=5.0, gt=0)
    max_retry_s: float = Field(default=3600.0, gt=0)
    templates: Path | None = None  # what we write to citizens; None: the texts that come with Okno
    acknowledge: bool = True  # write the citizen the number at once
    max_acknowledgements_per_hour: int = Field(default=10, ge=1)  # to one citizen: two machines must not go on for ever


class LogSettings(Section):
    """Logs on standard error."""

    format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal, else JSON
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """Everything an `okno.yaml` can say."""

    data_dir: Path = Path("okno-data")
    secret_key: SecretStr = SecretStr("")  # signs reply tokens and codes; empty: made once in the data folder
    office: OfficeSettings = OfficeSettings()
    registry: RegistrySettings = RegistrySettings()
    blobs: BlobSettings = BlobSettings()
    queues: QueueSettings = QueueSettings()
    http: HttpSettings = HttpSettings()
    email: EmailSettings = EmailSettings()
    sms: SmsSettings = SmsSettings()
    telegram: TelegramSettings = TelegramSettings()
    kiosk: KioskSettings = KioskSettings()
    fax: FaxSettings = FaxSettings()
    recognition: RecognitionSettings = RecognitionSettings()
    web: WebSettings = WebSettings()
    paper: PaperSettings = PaperSettings()
    attachments: AttachmentSettings = AttachmentSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    routing: RoutingSettings = RoutingSettings()
    console: ConsoleSettings = ConsoleSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    delivery: DeliverySettings = DeliverySettings()
    log: LogSettings = LogSettings()
    connectors: dict[str, dict[str, Any]] = Field(default_factory=dict)  # connectors of others, by entry point name
