"""A zone in memory that answers as a name server would."""

# ruff: noqa: ARG002 - it knows nothing but texts
from collections.abc import Mapping, Sequence

from connectors.email.authenticity.dns_lookup import DnsError


class TextZone:
    """TXT records by name; names that give an error."""

    def __init__(self, records: Mapping[str, str | Sequence[str]], *, broken: Sequence[str] = ()) -> None:
        self._records = records
        self._broken = broken
        self.asked: list[str] = []

    async def txt(self, name: str) -> list[bytes]:
        self.asked.append(name)
        if name in self._broken:
            raise DnsError("broken")
        found = self._records.get(name, ())
        return [text.encode() for text in ([found] if isinstance(found, str) else found)]

    async def addresses(self, name: str, kind: str) -> list[str]:
        return []

    async def mx(self, name: str) -> list[str]:
        return []

    async def ptr(self, address: str) -> list[str]:
        return []
