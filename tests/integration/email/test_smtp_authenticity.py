"""SPF, DKIM and DMARC of mail over SMTP, with a real name server, real keys, and forgeries."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from appeals.envelope import AppealEnvelope
from connectors.email.authenticity.dns_lookup import DnsError, Resolver

from .conftest import Dial, Office, OpenOffice, Wire
from .dns_server import DnsServer, running_dns_server

MAIL = (
    b"From: Ivan <ivan@example.org>\r\nTo: appeals@okno.localhost\r\nSubject: Heating\r\n"
    b"Date: Mon, 03 Mar 2025 10:00:00 +0300\r\nMessage-ID: <one@example.org>\r\n\r\nNo heating since Monday.\r\n"
)
CLIENT = "198.51.100.7"
# A key of 768 bits, made by openssl for this test: libraries make none any more.
WEAK_PRIVATE = (
    "MIIBywIBAAJhANWOkni+6NQaciEfv5YOX8lF+jX1Vpmxhv7wGCojPkpojKXbEhvPNcgN7LX3s/rFEZAKcuGmVSqas/1JGAtOBMkf"
    "o6Y2gvOE2S084x5z2ps/esEA0F1zMN7WzG8iQkLVJwIDAQABAmAsHvyb/bVUvPH/bfPDKM0ZZF/BbiKqNkdRvIEBk6526QrF6XDg"
    "Vfsijd3t6nNAyB3sBSuxQ6esxhn2Bgk+5FmHZAtYyZ4hTpwNiYS0tTECvbG5vVwyh43uXJCRya19TaECMQD3HDlGvNaHP6+A70BB"
    "t2W5R0f5p0obMR2Ct4Ks8dfMXI8Cmy14torlKjXn7efxCyUCMQDdPVZMMie700oi9X+p3sMkKMY3xZ5u9q9pYDN6eMB73yFzPYRX"
    "i2fsnnc/2FPVs1sCMQDzsbLOjvZl5Sl4VvoglPPNt31EuHT9wf8fZUiKs+okkPc8E7rRO/xYKbuFoXpGnb0CMH8H/wsVKVdhhIn6"
    "KGljLO0QNHBFmijgn+uDf0ttFiiJ/+zpf5m8w9lLS/FuxwRHTQIxALjVLJu44v7Btzx98GhmKm4EURRkmLw5qp8ZPw2UaU15gRPq"
    "TjgzWsMA1SWRB8QFyA=="
)
WEAK_PUBLIC = (
    "MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhANWOkni+6NQaciEfv5YOX8lF+jX1Vpmxhv7wGCojPkpojKXbEhvPNcgN7LX3s/rFEZAK"
    "cuGmVSqas/1JGAtOBMkfo6Y2gvOE2S084x5z2ps/esEA0F1zMN7WzG8iQkLVJwIDAQAB"
)


@pytest.fixture
async def name_server() -> AsyncIterator[DnsServer]:
    """Run a name server where example.org sends from one address, signs, and asks to reject the rest."""
    async with running_dns_server() as server:
        server.add_txt("example.org", f"v=spf1 ip4:{CLIENT} -all")
        server.add_txt("_dmarc.example.org", "v=DMARC1; p=reject")
        server.add_txt("attacker.example", "v=spf1 ip4:203.0.113.66 -all")
        yield server


@dataclass(frozen=True)
class Signer:
    """A key of one domain."""

    domain: bytes
    private: bytes
    algorithm: bytes = b"rsa-sha256"

    def sign(self, mail: bytes, **options: object) -> bytes:
        """Return the mail with a signature on top."""
        field = dkim.sign(
            mail, b"sel", self.domain, self.private, signature_algorithm=self.algorithm,
            canonicalize=(b"relaxed", b"relaxed"), **options,
        )  # fmt: skip
        return field + mail


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _rsa(server: DnsServer, domain: str, *, tags: str = "") -> Signer:
    """Return a signer for `domain` and publish its key."""
    key = _rsa_key()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    server.add_txt(f"sel._domainkey.{domain}", f"v=DKIM1; k=rsa; {tags}p={base64.b64encode(public).decode()}")
    return Signer(domain.encode(), private)


def _ed25519(server: DnsServer, domain: str) -> Signer:
    key = ed25519.Ed25519PrivateKey.generate()
    private = base64.b64encode(key.private_bytes_raw())
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    server.add_txt(f"sel._domainkey.{domain}", f"v=DKIM1; k=ed25519; p={public}")
    return Signer(domain.encode(), private, b"ed25519-sha256")


@dataclass
class Border:
    """An office, and a front MTA that names the client of each mail by XCLIENT."""

    office: Office
    dial: Dial

    async def receive(
        self, mail: bytes, *, client: str = CLIENT, mail_from: str = "ivan@example.org", helo: str = "mx.example.org"
    ) -> AppealEnvelope:
        """Hand a mail in; returns its envelope."""
        wire = await self.connect(client, helo=helo)
        reply = await wire.transaction(mail.removesuffix(b"\r\n"), mail_from=mail_from)
        assert reply.startswith("250 2.0.0 "), reply
        return self.office.intake.envelope

    async def connect(self, client: str, *, helo: str = "mx.example.org") -> Wire:
        wire = await self.dial(self.office.port, hello="EHLO front")
        assert (await wire.command(f"XCLIENT ADDR={client}")).startswith("220 ")
        assert (await wire.command(f"EHLO {helo}")).startswith("250")
        return wire

    async def results(self, mail: bytes, **way: str) -> dict[str, str]:
        """Hand a mail in; returns each method's result, several of one joined."""
        return results_of(await self.receive(mail, **way))


def results_of(envelope: AppealEnvelope) -> dict[str, str]:
    """Return each method's result; several of one method are joined by a comma."""
    found: dict[str, list[str]] = {}
    for item in envelope.authenticity:
        found.setdefault(item.method, []).append(item.result)
    return {method: ",".join(results) for method, results in found.items()}


@pytest.fixture
async def border(open_office: OpenOffice, dial: Dial, name_server: DnsServer) -> Border:
    """Open an office that asks the name server, behind a front MTA."""
    office = await open_office(client_address="xclient", dns_servers=(name_server.address,))
    return Border(office, dial)


async def test_spf_alone_is_enough(border: Border):
    """A mail from the domain's own server passes SPF, and so DMARC."""
    envelope = await border.receive(MAIL)
    assert results_of(envelope) == {"spf": "pass", "dkim": "none", "dmarc": "pass"}
    assert [item.detail for item in envelope.authenticity] == [
        "smtp.mailfrom=example.org ip4 of example.org",
        "not signed",
        "header.from=example.org p=reject by spf",
    ]


@pytest.mark.parametrize("make", [_rsa, _ed25519])
async def test_dkim_alone_is_enough(border: Border, name_server: DnsServer, make):
    """A mail that was forwarded fails SPF; its signature, RSA or Ed25519, still vouches for it."""
    mail = make(name_server, "example.org").sign(MAIL)
    found = await border.results(mail, client="203.0.113.9")
    assert found == {"spf": "fail", "dkim": "pass", "dmarc": "pass"}


async def test_a_forged_author(border: Border):
    """Somebody else's server, with the citizen's address: everything fails."""
    assert await border.results(MAIL, client="203.0.113.66") == {"spf": "fail", "dkim": "none", "dmarc": "fail"}


async def test_what_vouches_for_another_domain_proves_nothing(border: Border, name_server: DnsServer):
    """SPF and DKIM that pass for the attacker's own domain do not pass DMARC for the citizen's (alignment)."""
    mail = _rsa(name_server, "attacker.example").sign(MAIL)
    found = await border.results(mail, client="203.0.113.66", mail_from="bounce@attacker.example")
    assert found == {"spf": "pass", "dkim": "pass", "dmarc": "fail"}


@pytest.mark.parametrize(("mode", "result"), [("r", "pass"), ("s", "fail")])
async def test_subdomains(border: Border, name_server: DnsServer, mode: str, result: str):
    """A subdomain of the same organisation vouches where the domain has not asked for strict alignment."""
    name_server.records["_dmarc.example.org", "TXT"] = [f'"v=DMARC1; p=reject; adkim={mode}; aspf={mode}"']
    name_server.add_txt("mail.example.org", f"v=spf1 ip4:{CLIENT} -all")
    mail = _rsa(name_server, "news.example.org").sign(MAIL)
    found = await border.results(mail, mail_from="bounce@mail.example.org")
    assert found == {"spf": "pass", "dkim": "pass", "dmarc": result}


async def test_a_text_changed_on_the_way(border: Border, name_server: DnsServer):
    """A signed mail with another text fails DKIM."""
    mail = _rsa(name_server, "example.org").sign(MAIL).replace(b"Monday", b"Sunday")
    found = await border.results(mail, client="203.0.113.9")
    assert found == {"spf": "fail", "dkim": "fail", "dmarc": "fail"}


async def test_a_second_from_is_no_identity(border: Border, name_server: DnsServer):
    """A From put on top of a good signature changes who we take for the author, so it fails (RFC 6376 §8.15)."""
    signed = _rsa(name_server, "example.org").sign(MAIL, include_headers=[b"from", b"subject"])
    for extra in (b"From: boss@example.org\r\n", b"from : boss@example.org\r\n"):
        envelope = await border.receive(extra + signed)
        assert results_of(envelope)["dmarc"] == "fail"


async def test_parsers_that_disagree_give_no_identity(border: Border, name_server: DnsServer):
    """Bare CR or NUL in a header, which one parser takes for a line end and another does not, fails."""
    signed = _rsa(name_server, "example.org").sign(MAIL, include_headers=[b"from", b"subject"])
    for trick in (b"X: y\rFrom: boss@example.org\r\n", b"From: boss@example.org\r\r", b"X\x00: y\r\n"):
        envelope = await border.receive(trick + signed)
        assert results_of(envelope)["dmarc"] == "fail", trick


async def test_authors_of_several_domains(border: Border):
    """A From with two authors of two domains is vouched for by neither."""
    mail = MAIL.replace(b"Ivan <ivan@example.org>", b"ivan@example.org, eve@attacker.example")
    assert (await border.results(mail))["dmarc"] == "fail"


async def test_a_part_that_is_not_signed(border: Border, name_server: DnsServer):
    """A signature with l= says nothing about what was added below it (RFC 6376 §8.2)."""
    signed = _rsa(name_server, "example.org").sign(MAIL, length=True)
    assert (await border.results(signed, client="203.0.113.9"))["dkim"] == "pass"
    envelope = await border.receive(signed + b"And pay to this account.\r\n", client="203.0.113.9")
    assert results_of(envelope) == {"spf": "fail", "dkim": "neutral", "dmarc": "fail"}


async def test_weak_keys_and_hashes(border: Border, name_server: DnsServer):
    """Keys under 1024 bits, SHA-1, keys for tests and revoked keys prove nothing (RFC 8301, RFC 6376 §3.6.1)."""
    name_server.add_txt("sel._domainkey.weak.example.org", f"v=DKIM1; p={WEAK_PUBLIC}")
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{WEAK_PRIVATE}\n-----END RSA PRIVATE KEY-----\n"
    weak = Signer(b"weak.example.org", pem.encode())
    testing = _rsa(name_server, "testing.example.org", tags="t=y; ")
    revoked = _rsa(name_server, "revoked.example.org")
    name_server.records["sel._domainkey.revoked.example.org", "TXT"] = ['"v=DKIM1; p="']
    lost = _rsa(name_server, "lost.example.org")
    del name_server.records["sel._domainkey.lost.example.org", "TXT"]
    sha1 = Signer(testing.domain, testing.private, b"rsa-sha1")
    for signer, result in (
        (weak, "permerror"),
        (testing, "neutral"),
        (revoked, "permerror"),
        (lost, "permerror"),
        (sha1, "permerror"),
    ):
        envelope = await border.receive(signer.sign(MAIL.replace(b"one@", signer.domain + b"@")), client="203.0.113.9")
        assert results_of(envelope)["dkim"] == result, signer.domain
        assert results_of(envelope)["dmarc"] == "fail"


async def test_no_policy(border: Border, name_server: DnsServer):
    """Without a DMARC record nothing is demanded, so nothing fails; SPF and DKIM are told all the same."""
    del name_server.records["_dmarc.example.org", "TXT"]
    assert await border.results(MAIL, client="203.0.113.66") == {"spf": "fail", "dkim": "none", "dmarc": "none"}


async def test_the_null_sender_is_known_by_its_greeting(border: Border, name_server: DnsServer):
    """SPF of a bounce is asked for the greeting's domain (RFC 7208 §2.4)."""
    name_server.add_txt("mx.example.org", f"v=spf1 ip4:{CLIENT} -all")
    envelope = await border.receive(MAIL, mail_from="")
    assert results_of(envelope) == {"spf": "pass", "dkim": "none", "dmarc": "pass"}
    assert envelope.authenticity[0].detail.startswith("smtp.helo=mx.example.org ")


async def test_international_domains(border: Border, name_server: DnsServer):
    """A domain of letters beyond ASCII is asked for in its A-form, wherever it stands."""
    name_server.add_txt("xn--80a1acny.xn--p1ai", f"v=spf1 ip4:{CLIENT} -all")
    name_server.add_txt("_dmarc.xn--80a1acny.xn--p1ai", "v=DMARC1; p=quarantine")
    mail = MAIL.replace(b"ivan@example.org", "иван@почта.рф".encode())
    assert (await border.results(mail, mail_from="ivan@xn--80a1acny.xn--p1ai"))["dmarc"] == "pass"
    assert (await border.results(mail.replace(b"one@", b"two@"), client="203.0.113.66"))["dmarc"] == "fail"


async def test_ipv6(border: Border, name_server: DnsServer):
    """A client of IPv6 is checked as one of IPv4 is."""
    name_server.records["example.org", "TXT"] = ['"v=spf1 ip6:2001:db8:1::/48 -all"']
    assert (await border.results(MAIL, client="IPV6:2001:db8:1::25"))["spf"] == "pass"
    assert (await border.results(MAIL.replace(b"one@", b"two@"), client="IPV6:2001:db8:2::25"))["spf"] == "fail"


async def test_dns_that_is_silent_delays_no_mail_for_long(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """Where DNS does not answer, the mail is registered after authenticity_timeout_s with temperror."""
    name_server.silent.add("org")
    office = await open_office(
        client_address="xclient", dns_servers=(name_server.address,), authenticity_timeout_s=0.3, command_timeout_s=5.0
    )
    mail = _rsa(name_server, "example.org").sign(MAIL)
    found = await Border(office, dial).results(mail)
    assert found == {"spf": "temperror", "dkim": "temperror", "dmarc": "temperror"}


async def test_a_slow_name_server_of_the_forger_changes_nothing(
    open_office: OpenOffice, dial: Dial, name_server: DnsServer
):
    """Signatures, sender and client names whose DNS never answers do not turn a failure into "perhaps"."""
    name_server.records["example.org", "TXT"] = ['"v=spf1 ptr:example.org -all"']
    name_server.silent |= {"attacker.example", "113.0.203.in-addr.arpa"}
    office = await open_office(
        client_address="xclient", dns_servers=(name_server.address,), authenticity_timeout_s=1.0, command_timeout_s=5.0
    )
    mail = _rsa(name_server, "attacker.example").sign(MAIL)
    found = await Border(office, dial).results(mail, client="203.0.113.66")
    assert found == {"spf": "fail", "dkim": "temperror", "dmarc": "fail"}
    mail = mail.replace(b"one@", b"two@")
    found = await Border(office, dial).results(mail, client="203.0.113.66", mail_from="x@attacker.example")
    assert found == {"spf": "temperror", "dkim": "temperror", "dmarc": "fail"}


async def test_dns_that_is_broken(border: Border, name_server: DnsServer):
    """SERVFAIL is temperror, and DMARC does not fail for it."""
    name_server.broken.add("_domainkey.example.org")
    signed = _rsa(name_server, "example.org").sign(MAIL)
    found = await border.results(signed, client="203.0.113.9")
    assert found == {"spf": "fail", "dkim": "temperror", "dmarc": "temperror"}
    name_server.broken.add("example.org")
    found = await border.results(MAIL.replace(b"one@", b"two@"))
    assert found == {"spf": "pass", "dkim": "none", "dmarc": "pass"}  # both answers are still in the cache


async def test_no_name_server_at_all(open_office: OpenOffice, dial: Dial, free_port: int):
    """Where nobody listens, mail comes in all the same."""
    office = await open_office(
        client_address="xclient", dns_servers=(f"127.0.0.1:{free_port}",), authenticity_timeout_s=0.3
    )
    assert await Border(office, dial).results(MAIL) == {"spf": "temperror", "dkim": "none", "dmarc": "temperror"}


async def test_answers_are_kept(border: Border, name_server: DnsServer):
    """A second mail of the same domain asks nothing again."""
    await border.receive(MAIL)
    asked = len(name_server.questions)
    assert asked > 0
    await border.receive(MAIL.replace(b"one@", b"two@"))
    assert len(name_server.questions) == asked


async def test_large_answers_come_over_tcp(border: Border, name_server: DnsServer):
    """A key too large for UDP is fetched over TCP."""
    name_server.truncated.add("sel._domainkey.example.org")
    mail = _rsa(name_server, "example.org").sign(MAIL)
    assert (await border.results(mail, client="203.0.113.9"))["dkim"] == "pass"
    assert ("sel._domainkey.example.org", "TXT", "tcp") in name_server.questions


async def test_many_signatures(border: Border, name_server: DnsServer):
    """No more than five signatures are looked at, and a monstrous one harms nobody."""
    signer = _rsa(name_server, "example.org")
    signed = MAIL
    for _ in range(8):
        signed = signer.sign(signed)
    assert (await border.results(signed))["dkim"] == "pass,pass,pass,pass,pass"
    monster = b"DKIM-Signature: v=1; b=" + b";b=\r\n " * 20_000 + b"\r\n" + MAIL.replace(b"one@", b"two@")
    assert (await border.results(monster))["dkim"] == "permerror"


async def test_rubbish_for_signatures_and_records(border: Border, name_server: DnsServer):
    """Whatever stands in signatures, keys and policies, the mail is registered."""
    name_server.records["_dmarc.example.org", "TXT"] = ['"v=DMARC1; p=\\255\\000; adkim"', '"v=DMARC1; p=none"']
    signer = _rsa(name_server, "example.org")
    for number, key in enumerate(
        ("v=DKIM1; p=AAAA", "v=DKIM1; k=ed25519; p=AA", "p=" + "A" * 4000, "v=DKIM9; p=x", "rubbish")
    ):
        name_server.records.pop(("sel._domainkey.example.org", "TXT"))
        name_server.add_txt("sel._domainkey.example.org", key)
        office_mail = signer.sign(MAIL.replace(b"one@", b"%d@" % number))
        border.office.connector._receiver._authenticity._dns._resolver.cache.flush()
        assert (await border.results(office_mail))["dkim"] in {"permerror", "fail"}, key
    for field in (b"", b"v=1", b"v=1; d=\xff; s=\xff; a=rsa-sha256; h=from; bh=AAAA; b=AAAA", b"a=b=c;;=;"):
        await border.receive(b"DKIM-Signature: " + field + b"\r\n" + MAIL.replace(b"one@", b"%d@" % abs(hash(field))))


# -- who is checked


async def test_fronts_are_not_checked(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """A mail from loopback, or from any trusted network, costs no question and has no results."""
    office = await open_office(dns_servers=(name_server.address,))
    wire = await dial(office.port)
    await wire.transaction(MAIL)
    assert office.intake.envelope.authenticity == ()
    assert name_server.questions == []


async def test_switched_off(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """With email.authenticity off nothing is asked, whoever sends."""
    office = await open_office(authenticity=False, client_address="xclient", dns_servers=(name_server.address,))
    assert await Border(office, dial).results(MAIL, client="203.0.113.66") == {}
    assert name_server.questions == []


async def test_a_private_address_is_no_reason_to_fail(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """A mail from a machine of the house that nobody has named a front is not taken for a forgery; DKIM still counts."""
    office = await open_office(trusted_networks=(), dns_servers=(name_server.address,))
    wire = await dial(office.port)
    await wire.transaction(MAIL)
    assert results_of(office.intake.envelope) == {"spf": "none", "dkim": "none", "dmarc": "none"}
    await wire.transaction(_rsa(name_server, "example.org").sign(MAIL.replace(b"one@", b"two@")).removesuffix(b"\r\n"))
    assert results_of(office.intake.envelope)["dmarc"] == "pass"


# -- what front MTAs say

FRONT = {"trusted_authserv_ids": ("mx.okno.localhost", "*.mail.example")}
STATED = b"Authentication-Results: %s; spf=pass smtp.mailfrom=example.org; dkim=%s header.d=example.org; dmarc=%s header.from=%s\r\n"


async def _stated(office: Office, dial: Dial, head: bytes, *, mail: bytes = MAIL) -> dict[str, str]:
    wire = await dial(office.port)
    await wire.transaction((head + mail).removesuffix(b"\r\n"))
    return results_of(office.intake.envelope)


async def test_results_of_a_front_are_taken_over(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """The topmost field of a server we trust counts; those below it came with the mail (RFC 8601 §5)."""
    office = await open_office(**FRONT, dns_servers=(name_server.address,))
    ours = STATED % (b"MX.okno.localhost", b"pass", b"pass", b"example.org")
    forged = STATED % (b"mx.okno.localhost", b"fail", b"fail", b"example.org")
    found = await _stated(office, dial, b"Received: by mx\r\n" + ours + forged)
    assert found == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    found = await _stated(office, dial, forged + ours, mail=MAIL.replace(b"one@", b"two@"))
    assert found == {"spf": "pass", "dkim": "fail", "dmarc": "fail"}
    assert name_server.questions == []


async def test_results_of_a_stranger_are_not(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """A mail that brings its own Authentication-Results is checked as any other."""
    forged = STATED % (b"mx.okno.localhost", b"pass", b"pass", b"example.org")
    office = await open_office(**FRONT, dns_servers=(name_server.address,))
    assert await _stated(office, dial, forged.replace(b"mx.okno", b"mx.evil")) == {}
    direct = await open_office(**FRONT, trusted_networks=(), dns_servers=(name_server.address,))
    found = await _stated(direct, dial, forged)
    assert found == {"spf": "none", "dkim": "none", "dmarc": "none"}


async def test_a_front_that_looked_at_another_from(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """If the front's parser read another author than ours, its pass is none."""
    office = await open_office(**FRONT, dns_servers=(name_server.address,))
    stated = STATED % (b"mx.okno.localhost", b"pass", b"pass", b"attacker.example")
    assert (await _stated(office, dial, stated))["dmarc"] == "fail"


async def test_a_front_without_dmarc(open_office: OpenOffice, dial: Dial, name_server: DnsServer):
    """A front that checks SPF and DKIM alone (OpenDKIM) leaves DMARC to us."""
    office = await open_office(**FRONT, dns_servers=(name_server.address,))
    head = b"Authentication-Results: a.mail.example; dkim=%s (2048-bit key) header.i=@news.example.org header.s=x\r\n"
    assert await _stated(office, dial, head % b"pass") == {"dkim": "pass", "dmarc": "pass"}
    found = await _stated(office, dial, head % b"fail", mail=MAIL.replace(b"one@", b"two@"))
    assert found == {"dkim": "fail", "dmarc": "fail"}


async def test_reply_to_is_no_identity(border: Border, name_server: DnsServer):
    """Reply-To of another person is where answers go; author and DMARC are From's."""
    name_server.add_txt("_dmarc.victim.example", "v=DMARC1; p=reject")
    envelope = await border.receive(MAIL.replace(b"To: app", b"Reply-To: boss@victim.example\r\nTo: app"))
    assert envelope.sender.value == "ivan@example.org"
    assert envelope.reply_to.value == "boss@victim.example"
    assert results_of(envelope)["dmarc"] == "pass"


async def test_resolver_says_what_is_wrong(name_server: DnsServer):
    """No such name and no such record are empty; names that cannot be are too; SERVFAIL is an error."""
    resolver = Resolver((name_server.address,), timeout_s=2.0)
    name_server.broken.add("broken.example")
    assert await resolver.txt("nowhere.example") == []
    assert list(await resolver.mx("example.org")) == []
    assert await resolver.txt("x" * 70 + ".example.org") == []
    assert await resolver.txt("a..b") == []
    assert await resolver.addresses("пример" * 30, "A") == []
    name_server.add("example.org", "MX", "20 b.example.org.", "10 a.example.org.")
    name_server.add("7.100.51.198.in-addr.arpa", "PTR", "mx.example.org.")
    fresh = Resolver((name_server.address,), timeout_s=2.0)
    assert list(await fresh.mx("example.org")) == ["a.example.org", "b.example.org"]
    assert list(await fresh.ptr(CLIENT)) == ["mx.example.org"]
    with pytest.raises(DnsError):
        await resolver.txt("broken.example")
