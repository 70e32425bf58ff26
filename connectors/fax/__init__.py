"""Fax: the hooks of two gateways and a spool folder in, letters out through a gateway.

The spool folder (`fax.spool_dir`): whoever puts a PDF or TIFF there, by rename or by writing it, has it registered once
it has not changed for three seconds. Names that begin with a dot or end in .tmp, .part, .partial, .filepart or
.crdownload are let alone: an upload under way. A plus sign and digits in the name are the sender's number
(`+78121234567_20260801.tif`). A registered file is moved to `done/`, one that cannot be read within a minute to
`failed/` after it was put into quarantine; both grow until the operator empties them. While the registry is down
files stay where they are. With `fax.spool_layout: hylafax` the folder is HylaFAX's recvq (`connectors.fax.hylafax`).

Pages that a gateway keeps and cannot hand out now are remembered and tried again (`connectors.fax.unfetched`); when
they are gone for good, the fax is registered without them, so that somebody can call its sender.
"""

from config.channel_settings import FaxSettings
from connectors.base import ConnectorPorts
from connectors.fax.connector import FaxConnector
from connectors.fax.sinch import SinchGateway
from connectors.fax.telnyx import TelnyxGateway


def build(settings: FaxSettings, ports: ConnectorPorts) -> FaxConnector:
    """Return the connector, not started. Raises ConfigurationError if the settings cannot work."""
    gateways = (
        SinchGateway(settings, public_url=ports.public_url),
        TelnyxGateway(settings, public_url=ports.public_url, now=ports.now),
    )
    return FaxConnector(settings, ports, gateways=gateways)
