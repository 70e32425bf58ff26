"""Telegram through a bot."""

from config.channel_settings import TelegramSettings
from connectors.base import Connector, ConnectorPorts
from connectors.telegram.connector import TelegramConnector


def build(settings: TelegramSettings, ports: ConnectorPorts) -> Connector:
    """Return the Telegram connector. Raises ConfigurationError if the settings cannot work."""
    return TelegramConnector(settings, ports)
