"""SMS through Twilio."""

from config.settings import SmsSettings
from connectors.base import Connector, ConnectorPorts
from connectors.sms.connector import SmsConnector


def build(settings: SmsSettings, ports: ConnectorPorts) -> Connector:
    """Return the SMS connector. Raises ConfigurationError if the settings cannot work."""
    return SmsConnector(settings, ports)
