"""Email: mail in over SMTP and LMTP, answers out over a relay."""

from config.channel_settings import EmailSettings
from connectors.base import Connector, ConnectorPorts
from connectors.email.connector import EmailConnector
from connectors.email.sending.composer import Composer
from connectors.email.sending.dkim_signing import DkimSigner
from connectors.email.sending.relay import Relay

_LOCAL = ("localhost", "127.0.0.1", "::1")


def build(settings: EmailSettings, ports: ConnectorPorts) -> Connector:
    """Return the connector, not started. Raises ConfigurationError if the settings cannot work."""
    return EmailConnector(settings, ports)


def check_mail_out(settings: EmailSettings) -> list[str]:
    """Try addresses, keys and certificates of mail out without a network; return what is odd.

    Raises ConfigurationError if mail could not go out at all.
    """
    composer = Composer.of(settings)
    DkimSigner(settings.dkim, sender_domain=composer.address.rpartition("@")[2])
    Relay(settings)
    odd = []
    if composer.return_path.lower() not in [mailbox.lower() for mailbox in settings.mailboxes]:
        odd.append(
            "warning: email.return_path is none of email.mailboxes: bounces go elsewhere, and no state shows them"
        )
    if (
        settings.relay_password.get_secret_value()
        and settings.relay_tls == "none"
        and settings.relay_host not in _LOCAL
    ):
        odd.append("warning: email.relay_tls is none: the relay's password goes over the network in the clear")
    return odd
