"""Fax: a gateway's hook and a spool folder in, letters out through the gateway."""

from config.settings import FaxSettings
from connectors.base import ConnectorPorts
from connectors.fax.connector import FaxConnector
from connectors.fax.sinch import SinchGateway


def build(settings: FaxSettings, ports: ConnectorPorts) -> FaxConnector:
    """Return the connector with the gateway that `settings.gateway` names."""
    gateways = {"sinch": SinchGateway}
    return FaxConnector(settings, ports, gateway=gateways[settings.gateway](settings, public_url=ports.public_url))
