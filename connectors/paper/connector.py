"""The paper connector: what goes out is printed by an agent; what comes in is registered at the console."""

from appeals.envelope import Channel, ContactPointKind
from appeals.reply import DeliveryState
from config.channel_settings import PaperSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.paper.desk import LetterDesk

NAME = "paper"


class PaperConnector(Connector):
    """Speaks no protocol: its `desk` registers letters and visits, people print and post the answers."""

    channel = Channel.PAPER

    def __init__(self, settings: PaperSettings, ports: ConnectorPorts) -> None:
        self.name = NAME
        self.desk = LetterDesk(settings, ports, connector=NAME)
        self._state = HealthState.STARTING

    async def start(self) -> None:
        """Nothing to open."""
        self._state = HealthState.UP

    async def stop(self) -> None:
        """End the processes that read scans. Idempotent."""
        self._state = HealthState.STOPPED
        await self.desk.close()

    def health(self) -> ConnectorHealth:
        """Report now."""
        return ConnectorHealth(state=self._state, detail="letters and visits are registered in the console")

    async def send(self, message: OutboundMessage) -> Receipt:
        """Leave the answer to be printed, or to be read on the citizen's page. Idempotent, never fails."""
        if message.recipient.kind is ContactPointKind.WEB:
            return Receipt(
                external_id=str(message.reply_id), state=DeliveryState.DELIVERED, detail="shown on the citizen's page"
            )
        return Receipt(external_id=str(message.reply_id), detail="to be printed and posted by an agent")
