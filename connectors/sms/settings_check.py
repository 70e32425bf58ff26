"""Whether the settings of SMS can work, all faults at once."""

from appeals.errors import ConfigurationError
from config.channel_settings import SmsSettings


def check_settings(settings: SmsSettings) -> None:
    """Raise ConfigurationError that names every key which must be set for the provider."""
    needed = {
        "account_sid": settings.account_sid,
        "auth_token": settings.auth_token.get_secret_value(),
        "number": settings.number,
    }
    if settings.provider == "vonage":
        needed["signature_secret"] = settings.signature_secret.get_secret_value()
    faults = tuple(f"sms.{key}: must be set" for key, value in needed.items() if not value)
    if faults:
        raise ConfigurationError("the SMS connector cannot work with these settings", faults=faults)
