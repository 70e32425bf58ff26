"""How the core treats agents: time-outs, delays, graces. Times in microseconds, as everywhere in the core."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from config.settings import RoutingSettings

SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant_us(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970 UTC: exact, ordered, cheap to compute with."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(instant: int) -> datetime:
    """Return the aware UTC time of `instant` microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=instant)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterPolicy:
    """What applies to every queue and agent."""

    offer_timeout_us: int = 60 * SECOND_US
    decline_delay_us: int = 10 * SECOND_US
    timeout_delay_us: int = 30 * SECOND_US
    disconnect_delay_us: int = 0
    disconnect_grace_us: int = 20 * SECOND_US
    wrap_up_us: int = 10 * SECOND_US
    misses_to_away: int = 3  # offers timed out in a row

    @classmethod
    def of(cls, settings: RoutingSettings) -> "RouterPolicy":
        """Return the policy that the settings name."""
        return cls(
            offer_timeout_us=round(settings.offer_timeout_s * SECOND_US),
            decline_delay_us=round(settings.decline_delay_s * SECOND_US),
            timeout_delay_us=round(settings.timeout_delay_s * SECOND_US),
            disconnect_delay_us=round(settings.disconnect_delay_s * SECOND_US),
            disconnect_grace_us=round(settings.disconnect_grace_s * SECOND_US),
            wrap_up_us=round(settings.wrap_up_s * SECOND_US),
            misses_to_away=settings.misses_to_away,
        )
