"""Fax: a gateway's hook and a spool folder in, letters out through the gateway.

The spool folder (`fax.spool_dir`): whoever puts a PDF or TIFF there, by rename or by writing it, has it registered once
it has not changed for three seconds. Names that begin with a dot or end in .tmp, .part, .partial, .filepart or
.crdownload are let alone: an upload under way. A plus sign and digits in the name are the sender's number
(`+78121234567_20260801.tif`). A registered file is moved to `done/`, one that cannot be read within a minute to
`failed/` after it was put into quarantine; both grow until the operator empties them. While the registry is down
files stay where they are.
"""

from config.settings import FaxSettings
from connectors.base import ConnectorPorts
from connectors.fax.connector import FaxConnector
from connectors.fax.sinch import SinchGateway


def build(settings: FaxSettings, ports: ConnectorPorts) -> FaxConnector:
    """Return the connector with the gateway that `settings.gateway` names."""
    gateways = {"sinch": SinchGateway}
    return FaxConnector(settings, ports, gateway=gateways[settings.gateway](settings, public_url=ports.public_url))
