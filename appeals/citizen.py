"""The citizen: a person, known by their contact points."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Citizen:
    """A person who wrote to us."""

    id: UUID
    name: str  # as they gave it last; may be empty
    language: str  # BCP 47, "und" until known
    segments: frozenset[str]  # groups that rules may name: medical, veteran, large_family…
