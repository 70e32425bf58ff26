"""HylaFAX's receive folder: which file is complete, and who called.

Source: recvq(5F), xferfaxlog(5F), faxrcvd(8C) of HylaFAX 6 and HylaFAX+ 7. While a fax comes in, faxgetty holds a lock
(flock) on its file `faxNNNNN.tif`; then a RECV line goes into the log, and faxrcvd is run with the file. The TIFF's
ImageDescription holds the sender's own number (TSI), in the lines below it what the telephone network says (CallID).
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.fax.envelope import normalise_number
from connectors.media import clean_text

FILE_NAME = re.compile(r"fax\d+\.(tif|tiff|pdf)", re.ASCII)
FAXRCVD_S = 30.0  # faxrcvd mails the file: it must not be moved away under its hands
LOG_WITHIN_S = 300.0  # of the end of the call; then the log is not waited for any more
LOG_TAIL_BYTES = 1024 * 1024  # some 5,000 calls
RECEIVED = "RECV"
MIN_FIELDS = 14
QFILE, TSI, REASON, FIRST_CALL_ID = 4, 8, 13, 14
MAX_CALL_IDS = 4
MIN_CALLER_DIGITS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedCall:
    """A RECV line of xferfaxlog. `reason`: what broke the call off, "" if nothing did."""

    tsi: str
    call_ids: tuple[str, ...]
    reason: str


class HylafaxLayout:
    """HylaFAX's recvq as a spool folder."""

    settle_s = FAXRCVD_S

    def __init__(self, log: Path | None) -> None:
        """`log`: etc/xferfaxlog; None: what the TIFF says has to do."""
        self._log = log

    def wants(self, name: str) -> bool:
        """Tell whether a file is a received fax (recvq also holds `seqf`)."""
        return FILE_NAME.fullmatch(name) is not None

    def is_complete(self, path: Path) -> bool:
        """Tell whether the call is over: nobody holds the file's lock, and the log has it. Raises OSError."""
        if _is_locked(path):
            return False
        if self._log is None or time.time() - path.stat().st_mtime > LOG_WITHIN_S:
            return True
        return self.find_call(path.name) is not None

    def find_call(self, name: str) -> LoggedCall | None:
        """Return the newest line about a file (numbers are used again), None if there is none."""
        if self._log is None:
            return None
        try:
            with self._log.open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return None
        return next((call for line in reversed(lines) if (call := parse_log_line(line, name)) is not None), None)


def parse_log_line(line: str, name: str) -> LoggedCall | None:
    """Return a line's call if it is the reception of the file `name`."""
    fields = [clean_text(field).strip().strip('"').strip() for field in line.split("\t")]
    if len(fields) < MIN_FIELDS or fields[1] != RECEIVED or fields[QFILE].rpartition("/")[2] != name:
        return None
    call_ids = fields[FIRST_CALL_ID : FIRST_CALL_ID + MAX_CALL_IDS]
    return LoggedCall(tsi=fields[TSI], call_ids=tuple(filter(None, call_ids)), reason=fields[REASON])


def find_caller(description: str, call: LoggedCall | None, *, region: str) -> str:
    """Return the sender's number as E.164, or "".

    What the network says is believed before what the sender's machine says of itself. `description`: the TIFF's;
    `region` (ISO 3166-1): where numbers without a country code are.
    """
    for said in _said(description, call):
        if sum(letter.isdecimal() for letter in said) >= MIN_CALLER_DIGITS:
            number = normalise_number(said, region=region)
            if number:
                return number
    return ""


def _said(description: str, call: LoggedCall | None) -> Iterator[str]:
    tsi, *call_ids = [clean_text(line).strip() for line in description.splitlines()] or [""]
    if call is not None:
        yield from call.call_ids
    yield from call_ids
    if call is not None:
        yield call.tsi
    yield tsi


def _is_locked(path: Path) -> bool:
    """Tell whether another process holds a lock on the file (flock). Raises OSError if it cannot be opened."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where HylaFAX is not either
    except ImportError:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False
