"""Letters and visits: registered by an agent, answered by printed letters."""

from config.channel_settings import PaperSettings
from connectors.base import ConnectorPorts
from connectors.paper.connector import PaperConnector


def build(settings: PaperSettings, ports: ConnectorPorts) -> PaperConnector:
    """Return the connector."""
    return PaperConnector(settings, ports)
