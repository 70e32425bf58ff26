from config.settings import RoutingSettings
from router.policy import RouterPolicy


def test_policy_says_what_the_settings_say():
    """Every time and count that an operator sets reaches the core, in its units."""
    settings = RoutingSettings(
        offer_timeout_s=1,
        decline_delay_s=2,
        timeout_delay_s=3,
        disconnect_delay_s=4,
        disconnect_grace_s=5,
        wrap_up_s=6.5,
        misses_to_away=7,
    )
    assert RouterPolicy.of(settings) == RouterPolicy(
        offer_timeout_us=1_000_000,
        decline_delay_us=2_000_000,
        timeout_delay_us=3_000_000,
        disconnect_delay_us=4_000_000,
        disconnect_grace_us=5_000_000,
        wrap_up_us=6_500_000,
        misses_to_away=7,
    )
