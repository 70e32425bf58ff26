"""Authentication-Results as servers write them, and as attackers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.email.authenticity.authenticity_header import parse_results, trusted_results

GMAIL = (
    "mx.google.com; dkim=pass header.i=@example.org header.s=sel header.b=AbCd; "
    "spf=pass (google.com: domain of ivan@example.org designates 198.51.100.7 as permitted sender) "
    "smtp.mailfrom=ivan@example.org; dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.org"
)
EXCHANGE = (
    "spf=pass (sender IP is 198.51.100.7) smtp.mailfrom=example.org; dkim=pass (signature was verified) "
    "header.d=example.org;dmarc=bestguesspass action=none header.from=example.org;compauth=pass reason=109"
)
POSTFIX = 'mail.okno.example; dkim=fail reason="signature (bad); verify" (2048-bit key) header.d=Example.ORG header.i=@example.org'
ODD = '"mx.okno.example" 1 ; SPF = HardFail (a (nested \\) comment; spf=pass) x) smtp.mailfrom = "ivan petrov"@example.org'


@pytest.mark.parametrize(
    ("value", "authserv_id", "results"),
    [
        (
            GMAIL,
            "mx.google.com",
            [("dkim", "pass", "example.org"), ("spf", "pass", "example.org"), ("dmarc", "pass", "example.org")],
        ),
        (
            EXCHANGE,
            "",
            [("spf", "pass", "example.org"), ("dkim", "pass", "example.org"), ("dmarc", "none", "example.org")],
        ),
        (POSTFIX, "mail.okno.example", [("dkim", "fail", "example.org")]),
        (ODD, "mx.okno.example", [("spf", "fail", "example.org")]),
        ("mx.okno.example; none", "mx.okno.example", []),
        ("mx.okno.example 1; iprev=pass; auth=pass; dkim=weird; spf", "mx.okno.example", []),
        ("", "", []),
        ("(comment only", "", []),
    ],
)
def test_fields(value: str, authserv_id: str, results: list[tuple[str, str, str]]):
    """Server, method, result and domain are read; comments, quotes and unknown methods do not confuse."""
    stated = parse_results(value)
    assert stated.authserv_id == authserv_id
    names = ("smtp.mailfrom", "header.d", "header.i", "header.from")
    assert [(item.method, item.result, item.domain(*names)) for item in stated.results] == results


@pytest.mark.parametrize(
    "forged",
    [
        "evil.example; dmarc=pass",
        "evil.example (mx.okno.example); dmarc=pass",
        '"mx.okno.example.evil"; dmarc=pass',
        "mx.okno.example.evil; dmarc=pass",
        "x; mx.okno.example; dmarc=pass",
        "(; mx.okno.example; dmarc=pass",
    ],
)
def test_names_that_look_like_ours(forged: str):
    """A server that is not ours is not ours, whatever it calls itself in comments and quotes."""
    assert trusted_results([forged], patterns=("mx.okno.example",)) is None
    below = trusted_results([forged, "mx.okno.example; dmarc=fail"], patterns=("mx.okno.example",))
    assert below is not None
    assert [item.result for item in below.results] == ["fail"]


def test_patterns():
    """A provider with many servers is named by a pattern; one that does not name itself, by nothing."""
    yandex = "iva5-0123.mail.example; spf=pass smtp.mailfrom=a@b.example"
    assert trusted_results([yandex], patterns=("*.mail.example",)) is not None
    assert trusted_results([yandex], patterns=("mail.example",)) is None
    assert trusted_results([EXCHANGE], patterns=("mx.okno.example",)) is None
    assert trusted_results([EXCHANGE], patterns=("",)) is not None


@given(st.text(alphabet='ab.;="\\() \t/1@spfdkimarc\x00é', max_size=200))
def test_any_field(value: str):
    """Whatever stands in the field, it is read without an error."""
    stated = parse_results(value)
    assert all(item.method in {"spf", "dkim", "dmarc"} for item in stated.results)
    assert parse_results(GMAIL + ";" + value).results[:3] == parse_results(GMAIL).results
