"""Whatever stands in a header and in DNS, the check says something and nothing breaks."""

import asyncio

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from config.channel_settings import EmailSettings
from connectors.email.authenticity.authenticity_check import Authenticity
from connectors.email.envelope_builder import SmtpEnvelope

from .authenticity_zone import TextZone

_LINES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"From: a@example.org", b"From: =?utf-8?B?0J/R?= <b@\xd0\xbf.\xd1\x80\xd1\x84>", b"From: <>", b"from : x@y, z@w.example",
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=s; h=from; bh=AAAA; b=AAAA",
            b"DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=e; h=from:from; l=1; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA",
            b"DKIM-Signature: v=1; a=rsa-sha256; d=..; s=; h=; bh=; b=", b"\tfolded; b=", b" ", b"", b"Authentication-Results: mx; dmarc=pass",
            b'Authentication-Results: mx; spf=pass smtp.mailfrom="a b"@example.org; dkim=pass header.i=@\xff', b"Authentication-Results:",
        ]
    ),
)  # fmt: skip
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r", b"\x00"])
_TEXTS = st.sampled_from(
    ["v=spf1 +all", "v=spf1 ptr include:%{d} -all", "v=spf1 %{", "v=DMARC1; p=reject", "v=DMARC1; psd=y", "p=", "k=ed25519; p=AAAA", "v=DKIM1; p=MIGf", "é"]
)  # fmt: skip
_NAMES = (
    "example.org",
    "_dmarc.example.org",
    "_dmarc.org",
    "s._domainkey.example.org",
    "e._domainkey.example.org",
    "xn--o1a.xn--p1ai",
)


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.tuples(_LINES, _ENDS), max_size=8),
    records=st.dictionaries(st.sampled_from(_NAMES), st.lists(_TEXTS, max_size=2)),
    smtp=st.builds(
        SmtpEnvelope,
        mail_from=st.sampled_from(["", "a@example.org", "no domain", "a@п.рф", "x@" + "l" * 80 + ".org"]),
        peer=st.sampled_from(["198.51.100.7", "2001:db8::1", "127.0.0.1", "10.0.0.1", "rubbish"]),
        helo=st.sampled_from(["", "mx.example.org", "[127.0.0.1]", "\x00"]),
    ),
)
def test_any_mail(lines: list[tuple[bytes, bytes]], records: dict[str, list[str]], smtp: SmtpEnvelope):
    """Each method is told once at least where the mail is from outside; no fault of ours is logged."""
    raw = b"".join(line + end for line, end in lines)
    zone = TextZone(records, broken=("_dmarc.org",) if len(lines) % 2 else ())

    async def check() -> list[str]:
        authenticity = Authenticity(EmailSettings(trusted_authserv_ids=("mx",)), dns=zone)
        return [item.method for item in await authenticity.check(raw, smtp, sender="a@example.org")]

    with structlog.testing.capture_logs() as logs:
        methods = asyncio.run(check())
    assert "connector.authenticity_failed" not in {entry["event"] for entry in logs}, logs
    if smtp.peer != "127.0.0.1":
        assert {"spf", "dkim", "dmarc"} <= set(methods)
