"""SMS through a provider: Twilio or Vonage."""

from config.channel_settings import SmsSettings
from connectors.base import Connector, ConnectorPorts
from connectors.sms.connector import SmsConnector
from connectors.sms.settings_check import check_settings
from connectors.sms.twilio import TwilioProvider
from connectors.sms.vonage import VonageProvider

PROVIDERS = {"twilio": TwilioProvider, "vonage": VonageProvider}


def build(settings: SmsSettings, ports: ConnectorPorts) -> Connector:
    """Return the SMS connector. Raises ConfigurationError if the settings cannot work."""
    check_settings(settings)
    return SmsConnector(settings, ports, PROVIDERS[settings.provider](settings, ports))
