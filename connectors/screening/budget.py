"""How much a look into one message's files may cost: time, bytes unpacked, entries listed."""

import time


class BombError(Exception):
    """The file unpacks to more than is allowed."""


class OutOfTimeError(Exception):
    """The look took too long: the file stays unchecked."""


class Budget:
    """What is left to be spent. Every loop over a stranger's bytes asks it."""

    def __init__(self, *, seconds: float, unpacked_bytes: int, entries: int, nesting: int) -> None:
        self._deadline = time.monotonic() + seconds
        self._unpacked_bytes = unpacked_bytes
        self._entries = entries
        self.nesting = nesting

    def check_time(self) -> None:
        """Raise OutOfTimeError when the time is up."""
        if time.monotonic() > self._deadline:
            raise OutOfTimeError

    def unpack(self, size_bytes: int) -> None:
        """Spend bytes that were, or would be, unpacked. Raises BombError, OutOfTimeError."""
        self._unpacked_bytes -= size_bytes
        if self._unpacked_bytes < 0:
            raise BombError
        self.check_time()

    def enter(self) -> None:
        """Spend an entry of an archive. Raises BombError, OutOfTimeError."""
        self._entries -= 1
        if self._entries < 0:
            raise BombError
        self.check_time()

    def fits(self, entries: int) -> bool:
        """Tell whether so many entries can be listed still."""
        return entries <= self._entries
