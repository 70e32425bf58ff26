"""Proof of work: a little computing for each submission keeps machines from sending thousands (after Hashcash).

The server signs a challenge for one submission; the browser looks for a counter whose SHA-256 with the challenge begins
with so many zero bits. Nothing is stored: a challenge is good for its submission alone, and a submission that comes
again is the same appeal, so a solved one cannot be spent twice. Back, 2002, "Hashcash: a denial of service
counter-measure".
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

SHA256_BITS = 256
MAX_SOLUTION_DIGITS = 15  # what a browser counts exactly (2**53)


class ProofRefusedError(Exception):
    """The challenge is not ours, too old, for another submission, or not solved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """What the browser has to solve."""

    text: str  # "<issued at, seconds>.<bits>.<signature>"
    difficulty_bits: int


class ProofOfWork:
    """Signs challenges and checks solutions. Any process with the same key takes them."""

    def __init__(self, key: bytes, *, ttl_s: float) -> None:
        self._key = hmac.digest(key, b"proof of work\x00", "sha256")
        self._ttl_s = ttl_s

    def issue(self, submission_id: str, *, difficulty_bits: int, now: datetime) -> Challenge:
        """Return a challenge for that submission, valid from `now` for the time to live."""
        claims = f"{int(now.timestamp())}.{difficulty_bits}"
        return Challenge(text=f"{claims}.{self._sign(claims, submission_id)}", difficulty_bits=difficulty_bits)

    def check(self, challenge: str, solution: str, *, submission_id: str, now: datetime) -> None:
        """Raise ProofRefusedError unless `solution`, decimal digits, solves a valid challenge of that submission."""
        claims, _, signature = challenge.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(claims, submission_id).encode()):
            raise ProofRefusedError("the challenge was not signed for this submission")
        issued_at, _, bits = claims.partition(".")  # signed, so in our own form
        if not 0 <= now.timestamp() - int(issued_at) + 1 <= self._ttl_s + 1:
            raise ProofRefusedError("the challenge is too old")
        if not (solution.isascii() and solution.isdigit() and len(solution) <= MAX_SOLUTION_DIGITS):
            raise ProofRefusedError("the solution is not a number")
        if leading_zero_bits(f"{challenge}:{solution}") < int(bits):
            raise ProofRefusedError("the challenge is not solved")

    def _sign(self, claims: str, submission_id: str) -> str:
        return hmac.digest(self._key, f"{claims}\x00{submission_id}".encode(), "sha256").hex()


def leading_zero_bits(text: str) -> int:
    """Return with how many zero bits the SHA-256 of `text` in UTF-8 begins."""
    return SHA256_BITS - int.from_bytes(hashlib.sha256(text.encode()).digest()).bit_length()


def solve(challenge: Challenge) -> str:
    """Return a solution; takes 2**difficulty_bits hashes on average. For clients that are no browser."""
    counter = 0
    while leading_zero_bits(f"{challenge.text}:{counter}") < challenge.difficulty_bits:
        counter += 1
    return str(counter)
