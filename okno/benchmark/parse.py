"""`okno bench parse`: mails a second through parsing and cleaning, beside the standard library's parsers alone."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

from connectors.email.envelope_builder import SmtpEnvelope, build_envelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.parsing.message_parser import parse_mail
from okno.benchmark.mail_corpus import make_corpus, read_corpus

Progress = Callable[[str], None]
Parser = Callable[[bytes], object]

OURS, DEFAULT, DEFAULT_READ, COMPAT32 = "okno", "email.policy.default", "the same, read", "compat32"
_FIELDS = ("subject", "from", "to", "date", "message-id")
_RECEIVED_AT = datetime(2026, 3, 2, tzinfo=UTC)
_MAILBOXES = Mailboxes(("appeals@okno.example",), sender="office@okno.example")
_SMTP = SmtpEnvelope(mail_from="citizen@mail.example", rcpt_to=("appeals@okno.example",), protocol="smtp")


@dataclass(frozen=True, kw_only=True, slots=True)
class KindResult:
    """Figures of one kind of mail. Rates are mails a second of processor time, of one core."""

    mails: int
    mean_bytes: int
    okno_per_s: float  # decoded, cleaned, the envelope built, the files' types detected
    default_per_s: float  # email.policy.default: `message_from_bytes` alone
    default_read_per_s: float  # for information: subject, addresses, date, text and files read as well
    compat32_per_s: float  # for information: the older parser alone
    ratio: float  # okno_per_s over default_per_s
    ratio_low: float  # of the rounds, the worst
    ratio_high: float  # and the best


@dataclass(frozen=True, kw_only=True, slots=True)
class ParseResult:
    """Figures of one run."""

    mails_per_s: float  # ours, over all kinds
    limit_per_s: float  # what `email.policy.default` alone does with the same mails
    ratio: float
    rounds: int
    seed: int | None  # None: mails of a folder
    whole: KindResult  # each mail of each kind once a round
    kinds: dict[str, KindResult]


def bench_parse(*, mails: int, rounds: int, seed: int, corpus: Path | None, progress: Progress) -> ParseResult:
    """Measure three parsers over one corpus in one run, in turns, round after round. Raises ConfigurationError.

    `mails`: of each kind. What the system does meanwhile harms all alike: processor time is counted, each round
    changes the order, and a rate is that of the median round.
    """
    found = read_corpus(corpus) if corpus is not None else make_corpus(mails, seed=seed)
    times: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in _PARSERS} for kind in found}
    _round(found, {kind: {name: [] for name in _PARSERS} for kind in found}, order=list(_PARSERS))  # warm
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        names = list(_PARSERS)
        _round(found, times, order=names[number % len(names) :] + names[: number % len(names)])
    kinds = {kind: _result(raws, times[kind]) for kind, raws in found.items()}
    together = {name: [sum(times[kind][name][at] for kind in found) for at in range(rounds)] for name in _PARSERS}
    whole = _result([raw for raws in found.values() for raw in raws], together)
    return ParseResult(
        mails_per_s=whole.okno_per_s,
        limit_per_s=whole.default_per_s,
        ratio=whole.ratio,
        rounds=rounds,
        seed=None if corpus is not None else seed,
        whole=whole,
        kinds=kinds,
    )


def _round(
    corpus: Mapping[str, list[bytes]], times: Mapping[str, Mapping[str, list[float]]], *, order: list[str]
) -> None:
    gc.collect()
    for kind, raws in corpus.items():
        for name in order:
            times[kind][name].append(_measure(_PARSERS[name], raws))


def _measure(parse: Parser, raws: list[bytes]) -> float:
    """Return the processor time that `parse` takes for all of `raws`, in seconds."""
    began = time.process_time()
    for raw in raws:
        parse(raw)
    return time.process_time() - began


def _result(raws: list[bytes], times: Mapping[str, list[float]]) -> KindResult:
    rates = {name: len(raws) / max(statistics.median(spent), 1e-9) for name, spent in times.items()}
    ratios = [default / max(ours, 1e-9) for ours, default in zip(times[OURS], times[DEFAULT], strict=True)]
    return KindResult(
        mails=len(raws),
        mean_bytes=sum(map(len, raws)) // len(raws),
        okno_per_s=rates[OURS],
        default_per_s=rates[DEFAULT],
        default_read_per_s=rates[DEFAULT_READ],
        compat32_per_s=rates[COMPAT32],
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )


def _parse_ours(raw: bytes) -> object:
    """Do all that a connector does before the intake: decode, clean, detect, build the envelope."""
    mail = parse_mail(raw, mail_from=_SMTP.mail_from)
    return build_envelope(mail, raw, smtp=_SMTP, mailboxes=_MAILBOXES, connector="email", received_at=_RECEIVED_AT)


def _parse_default(raw: bytes) -> object:
    return message_from_bytes(raw, policy=policy.default)


def _parse_and_read_default(raw: bytes) -> object:
    """Read with the standard library what a connector needs of a mail, cleaning nothing."""
    message = message_from_bytes(raw, policy=policy.default)
    try:
        found: list[object] = [str(message[name]) for name in _FIELDS if name in message]
        body = message.get_body(("plain", "html"))
        found.append(body.get_content() if body is not None else None)
        found += [part.get_payload(decode=True) for part in message.iter_attachments()]
    except (
        LookupError,
        ValueError,
        AttributeError,
        TypeError,
    ):  # mails it cannot read: charsets that lie, broken headers
        return None
    return found


def _parse_compat32(raw: bytes) -> object:
    return message_from_bytes(raw, policy=policy.compat32)


_PARSERS: dict[str, Parser] = {
    OURS: _parse_ours,
    DEFAULT: _parse_default,
    DEFAULT_READ: _parse_and_read_default,
    COMPAT32: _parse_compat32,
}
