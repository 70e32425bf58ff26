"""Logs: structlog to standard error, as JSON lines for machines or coloured text for a terminal."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from config.settings import LogSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
QUIET = (
    "mail.log",
    "asyncio",
    "httpx",
    "httpcore",
    "telegram",
    "twilio.http_client",
    "aiohttp.access",
    "alembic",
    "watchfiles",
)


class ExpendableStream:
    """A text stream to which nothing must be written: what it cannot take is lost.

    The log may go to a full disk, or into a pipe whose reader has died. The daemon's work goes on without it: an
    exception here would come up in the middle of a mail that is already registered.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write or lose `text`."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logs(settings: LogSettings) -> None:
    """Set up structlog and route the libraries' own logs into it. Call once, before anything logs."""
    stream = cast("TextIO", ExpendableStream(sys.stderr))  # the two methods of it that loggers use
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ending: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the rich one shows variables: citizens' words
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    of_records = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=of_records, foreign_pre_chain=shared))
    handler.addFilter(_without_strangers_bytes)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[settings.level])
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[settings.level]))


def _without_strangers_bytes(record: logging.LogRecord) -> bool:
    """Make one line of what aiohttp says of bytes that are no HTTP: anybody can send them, as often as they like.

    It logs them as errors, with a stack trace that quotes the bytes.
    """
    error = record.exc_info[1] if record.exc_info else None
    if record.name == "aiohttp.server" and isinstance(error, HttpProcessingError):
        record.msg, record.args, record.exc_info, record.exc_text = "http.not_http", (), None, None
        record.levelno, record.levelname = logging.INFO, "INFO"
        return logging.getLogger().isEnabledFor(logging.INFO)
    return True
