"""Kiosks: forms in over Standard Webhooks, answers out to the kiosk."""

from config.channel_settings import KioskSettings
from connectors.base import ConnectorPorts
from connectors.kiosk.connector import KioskConnector


def build(settings: KioskSettings, ports: ConnectorPorts) -> KioskConnector:
    """Return the connector. Raises ConfigurationError."""
    return KioskConnector(settings, ports)
