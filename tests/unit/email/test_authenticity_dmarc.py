"""DMARC: the tree walk, alignment, and records however broken (RFC 9989)."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.email.authenticity.dmarc import DmarcOutcome, Vouched, check_dmarc, find_policy, parse_dmarc
from connectors.email.authenticity.dns_lookup import DnsError

from .authenticity_zone import TextZone


def _check(zone: TextZone, author: str, *vouched: tuple[str, str, str]) -> DmarcOutcome:
    async def run() -> DmarcOutcome:
        policy = await find_policy(author, zone)
        items = [Vouched.__call__(method=method, result=result, domain=domain) for method, result, domain in vouched]  # type: ignore[arg-type]
        return await check_dmarc(author, items, zone, policy=policy)

    return asyncio.run(run())


ORG = {"_dmarc.example.org": "v=DMARC1; p=reject; sp=quarantine"}
STRICT = {"_dmarc.example.org": "v=DMARC1; p=reject; adkim=s; aspf=s"}
SUFFIX = {"_dmarc.gov.example": "v=DMARC1; p=none; psd=y", "_dmarc.city.gov.example": "v=DMARC1; p=reject"}
APART = {**ORG, "_dmarc.branch.example.org": "v=DMARC1; p=none; psd=n"}
DEEP = "a.b.c.d.e.f.g.h.i.example.org"


@pytest.mark.parametrize(
    ("records", "author", "domain", "result"),
    [
        (ORG, "example.org", "example.org", "pass"),
        (ORG, "example.org", "mail.example.org", "pass"),
        (ORG, "mail.example.org", "example.org", "pass"),
        (ORG, "a.example.org", "b.example.org", "pass"),
        (ORG, DEEP, "example.org", "pass"),
        (ORG, "example.org", "badexample.org", "fail"),
        (ORG, "example.org", "example.org.attacker.example", "fail"),
        (ORG, "example.org", "org", "fail"),
        (STRICT, "example.org", "mail.example.org", "fail"),
        (STRICT, "example.org", "example.org", "pass"),
        (SUFFIX, "city.gov.example", "other.gov.example", "fail"),
        (SUFFIX, "city.gov.example", "mail.city.gov.example", "pass"),
        (SUFFIX, "other.gov.example", "mail.other.gov.example", "pass"),
        (SUFFIX, "other.gov.example", "city.gov.example", "fail"),
        (APART, "branch.example.org", "example.org", "fail"),
        (APART, "x.branch.example.org", "y.branch.example.org", "pass"),
        ({}, "example.org", "example.org", "none"),
        ({"_dmarc.example.org": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}, "example.org", "example.org", "none"),
        ({"_dmarc.example.org": ["v=spf1 -all", "v=DMARC1"]}, "example.org", "example.org", "pass"),
    ],
)
@pytest.mark.parametrize("method", ["spf", "dkim"])
def test_alignment(records: dict[str, str], author: str, domain: str, result: str, method: str):
    """A pass of SPF or DKIM counts for the domains of one organisation, as the tree walk finds it."""
    assert _check(TextZone(records), author, (method, "pass", domain)).result == result


@pytest.mark.parametrize(
    ("author", "detail"),
    [
        ("example.org", "header.from=example.org p=reject"),
        ("sub.example.org", "header.from=sub.example.org p=quarantine"),
    ],
)
def test_the_policy_that_holds(author: str, detail: str):
    """The request is p of the author's own record, else sp, else p of the organisation's."""
    assert _check(TextZone(ORG), author) == DmarcOutcome(result="fail", detail=detail)


def test_only_a_pass_counts():
    """Whatever SPF and DKIM say but pass proves nothing; what DNS could not say leaves it open."""
    zone = TextZone(ORG)
    for result in ("fail", "softfail", "neutral", "none", "permerror"):
        assert (
            _check(zone, "example.org", ("spf", result, "example.org"), ("dkim", result, "example.org")).result
            == "fail"
        )
    assert _check(zone, "example.org", ("spf", "temperror", "example.org")).result == "temperror"
    assert _check(zone, "example.org", ("spf", "temperror", "attacker.example")).result == "fail"
    assert _check(zone, "example.org", ("dkim", "temperror", "sub.example.org")).result == "temperror"
    assert (
        _check(zone, "example.org", ("spf", "temperror", "example.org"), ("dkim", "pass", "example.org")).result
        == "pass"
    )


def test_a_walk_that_meets_an_error():
    """A name server that is down is not taken for a missing policy."""
    with pytest.raises(DnsError):
        _check(TextZone(ORG, broken=("_dmarc.example.org",)), "mail.example.org")
    zone = TextZone(ORG, broken=("_dmarc.b.example.org",))
    assert _check(zone, "example.org", ("spf", "pass", "b.example.org")).result == "temperror"


def test_a_deep_domain_costs_eight_questions():
    """However many labels a domain has, the walk is short (RFC 9989 §4.10)."""
    zone = TextZone({})
    _check(zone, ".".join("x" * 60) + ".example.org")
    assert len(zone.asked) == 8
    assert zone.asked[-1] == "_dmarc.org"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("v=DMARC1; p=reject", "reject"),
        ("v=DMARC1;p=Quarantine ;", "quarantine"),
        ("v = DMARC1 ; p = none", "none"),
        ("v=DMARC1", "none"),
        ("v=DMARC1; rua=mailto:a@b.example", "none"),
        ("v=DMARC1; p=whatever; rua=mailto:a@b.example", "none"),
        ("v=DMARC1; p=whatever", None),
        ("v=DMARC1; p=reject; sp=odd", None),
        ("v=DMARC12; p=reject", None),
        ("v=dmarc1; p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("", None),
    ],
)
def test_records(text: str, policy: str | None):
    """A record is read as RFC 9989 §4.7 says, and one that cannot be used is none."""
    record = parse_dmarc(text.encode(), domain="example.org")
    assert (record.policy if record else None) == policy


@given(st.binary(max_size=100))
def test_any_record(content: bytes):
    """Whatever stands in a record, it is read or left alone."""
    record = parse_dmarc(b"v=DMARC1;" + content, domain="example.org")
    assert record is None or record.policy in {"none", "quarantine", "reject"}
