"""Email: mail in over SMTP and LMTP, answers out over a relay."""

from config.settings import EmailSettings
from connectors.base import Connector, ConnectorPorts
from connectors.email.connector import EmailConnector


def build(settings: EmailSettings, ports: ConnectorPorts) -> Connector:
    """Return the connector, not started. Raises ConfigurationError if the settings cannot work."""
    return EmailConnector(settings, ports)
