"""The form on the citizen's page: appeals in over HTTP; answers are read on the page, or go to the contact given."""

from config.channel_settings import WebSettings
from connectors.base import ConnectorPorts
from connectors.web.connector import WebConnector


def build(settings: WebSettings, ports: ConnectorPorts) -> WebConnector:
    """Return the connector. Raises ConfigurationError."""
    return WebConnector(settings, ports)
