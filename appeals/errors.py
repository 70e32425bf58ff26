"""The error hierarchy every room shares. Its root is in `config`, which may import nothing above it."""

from config.errors import ConfigurationError, OknoError

__all__ = [
    "ConfigurationError",
    "DecodeError",
    "IllegalTransitionError",
    "NotFoundError",
    "NotHolderError",
    "OknoError",
    "PermanentError",
    "StaleLeaderError",
    "StaleVersionError",
    "TransientError",
]


class TransientError(OknoError):
    """May succeed later: the store is down, the disk is full, a gateway answers 5xx. The caller tries again.

    `retry_after_s` is what the other side asked for, if it did.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(OknoError):
    """Will never succeed as it is: the item goes to quarantine with its bytes."""


class DecodeError(PermanentError):
    """Bytes that are not what the channel's protocol promises. `data` holds them."""

    def __init__(self, message: str, *, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class StaleVersionError(OknoError):
    """Compare-and-set lost: somebody else changed the appeal first. Read it again and decide again."""


class NotHolderError(OknoError):
    """The agent does not hold the appeal: somebody else does, or nobody."""


class StaleLeaderError(OknoError):
    """The fencing token is no longer the newest: another leader has taken over. Stop at once."""


class IllegalTransitionError(OknoError):
    """The state machine has no such transition."""


class NotFoundError(OknoError):
    """No appeal, agent, offer or blob by that name. The text says which."""
