"""Our TLS certificate: read once, read again when its files have changed, and watched for its expiry."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from appeals.errors import ConfigurationError
from config.channel_settings import EmailSettings

logger = structlog.get_logger(__name__)

WATCH_INTERVAL_S = 60.0  # for the health; a connection looks at once
EXPIRY_WARNING = timedelta(days=14)  # renewals by ACME come 30 days before the end: then something is wrong


class TlsCertificate:
    """A certificate and its key in a server's TLS context (TLS 1.2 and newer, RFC 8996).

    `context` stays the same object over a renewal, so that listeners and open connections need not know of it.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._files = (certificate, key or certificate)
        self.context = _server_context()
        self._stamp = self._read_stamp()
        self.expires_at = self._load()
        self.trouble = ""  # why the newest files are not in use; empty if they are

    @classmethod
    def of(cls, settings: EmailSettings) -> "TlsCertificate | None":
        """Return the certificate the settings name, None if none. Raises ConfigurationError, which names the key."""
        if settings.tls_certificate is None:
            without = {"require_tls": False, "smtps_port": None, "tls_key": None}
            for key, default in without.items():
                if getattr(settings, key) is not default:
                    raise ConfigurationError(f"email.{key} needs a certificate: set email.tls_certificate")
            return None
        try:
            return cls(settings.tls_certificate, settings.tls_key)
        except (OSError, ValueError) as error:
            keys = "email.tls_certificate" + (", email.tls_key" if settings.tls_key else "")
            raise ConfigurationError(f"{keys}: {_reason(error)}") from error

    def refresh(self) -> None:
        """Read the files again if they have changed. While the new ones do not fit, the old stay in use.

        Costs two `stat` calls; called for each connection.
        """
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return
            self.expires_at = self._load()
        except (
            OSError,
            ValueError,
        ) as error:  # in the midst of a renewal, or for good: the next connection looks again
            if not self.trouble:
                logger.warning("smtp.certificate_not_read", reason=_reason(error))
            self.trouble = f"the TLS certificate's files cannot be used: {_reason(error)}"
            return
        self._stamp, self.trouble = stamp, ""
        logger.info("smtp.certificate_renewed", expires_at=self.expires_at.isoformat())

    async def watch(self) -> None:
        """Read the files again whenever they have changed, also while nobody connects; runs until cancelled."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            self.refresh()

    def health(self, now: datetime) -> str:
        """Return what people should know about the certificate; empty if all is well."""
        if self.trouble:
            return self.trouble
        left = self.expires_at - now
        if left <= timedelta(0):
            return f"the TLS certificate expired on {self.expires_at:%Y-%m-%d}"
        if left < EXPIRY_WARNING:
            return f"the TLS certificate expires on {self.expires_at:%Y-%m-%d}, in {left.days} days"
        return ""

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in map(Path.stat, self._files))

    def _load(self) -> datetime:
        """Put the files into the context; returns when the certificate ends. A pair that does not fit is let be."""
        certificate, key = self._files
        for context in (_server_context(), self.context):  # without a terminal there is nobody to ask for a passphrase
            context.load_cert_chain(certificate, key, password=str)
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.astimezone(UTC)


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "the key does not belong to the certificate, or a file is no PEM"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return "the file holds no certificate in PEM"
