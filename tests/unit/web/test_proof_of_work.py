"""Proof of work: what is taken, and that nothing else is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.web.proof_of_work import ProofOfWork, ProofRefusedError, leading_zero_bits, solve

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ID = "0123456789abcdef" * 2
KEY = b"k" * 32


@pytest.fixture
def proofs():
    return ProofOfWork(KEY, ttl_s=3600)


def test_a_solution_is_taken_by_any_process_of_the_same_key(proofs: ProofOfWork):
    """The challenge is signed, not stored: another intake process, or this one after a restart, knows it."""
    challenge = proofs.issue(ID, difficulty_bits=8, now=NOW)
    solution = solve(challenge)
    assert leading_zero_bits(f"{challenge.text}:{solution}") >= 8
    ProofOfWork(KEY, ttl_s=3600).check(challenge.text, solution, submission_id=ID, now=NOW + timedelta(minutes=59))


def test_it_is_good_for_its_submission_alone(proofs: ProofOfWork):
    """So a solved challenge cannot be spent on a second appeal."""
    challenge = proofs.issue(ID, difficulty_bits=2, now=NOW)
    with pytest.raises(ProofRefusedError, match="signed"):
        proofs.check(challenge.text, solve(challenge), submission_id="f" * 32, now=NOW)


@pytest.mark.parametrize("later", [timedelta(seconds=3602), timedelta(seconds=-5)])
def test_it_runs_out(proofs: ProofOfWork, later: timedelta):
    """Nobody can solve them in advance; one from the future was not issued by our clock."""
    challenge = proofs.issue(ID, difficulty_bits=2, now=NOW)
    with pytest.raises(ProofRefusedError, match="old"):
        proofs.check(challenge.text, solve(challenge), submission_id=ID, now=NOW + later)


def test_an_unsolved_or_easier_one_is_refused(proofs: ProofOfWork):
    """Who writes a smaller difficulty into the challenge breaks its signature."""
    challenge = proofs.issue(ID, difficulty_bits=24, now=NOW)
    with pytest.raises(ProofRefusedError, match="not solved"):
        proofs.check(challenge.text, "1", submission_id=ID, now=NOW)
    issued_at, _, signature = challenge.text.split(".")
    with pytest.raises(ProofRefusedError, match="signed"):
        proofs.check(f"{issued_at}.0.{signature}", "1", submission_id=ID, now=NOW)


@given(challenge=st.text(max_size=200), solution=st.text(max_size=30), submission_id=st.text(max_size=40))
def test_any_text_is_refused_without_another_error(challenge: str, solution: str, submission_id: str):
    """Whatever a header brings, the answer is a refusal."""
    with pytest.raises(ProofRefusedError):
        ProofOfWork(KEY, ttl_s=3600).check(challenge, solution, submission_id=submission_id, now=NOW)


@given(solution=st.text(max_size=30).filter(lambda text: not (text.isascii() and text.isdigit())))
def test_a_solution_is_decimal_digits(solution: str):
    """Nothing else: else one hash would have many spellings."""
    proofs = ProofOfWork(KEY, ttl_s=3600)
    challenge = proofs.issue(ID, difficulty_bits=0, now=NOW)
    with pytest.raises(ProofRefusedError, match="number"):
        proofs.check(challenge.text, solution, submission_id=ID, now=NOW)


@pytest.mark.parametrize(("text", "bits"), [("okno:7", 1), ("a:0", 0)])
def test_bits_are_counted_from_the_left(text: str, bits: int):
    """The known SHA-256 of a text, as the browser's own count must have it."""
    import hashlib  # noqa: PLC0415 - the reference way to count

    digest = "".join(f"{byte:08b}" for byte in hashlib.sha256(text.encode()).digest())
    assert leading_zero_bits(text) == len(digest) - len(digest.lstrip("0"))
    assert bits >= 0
