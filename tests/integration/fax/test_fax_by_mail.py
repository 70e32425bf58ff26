"""A mail-to-fax gateway's mail over real SMTP becomes a fax."""

import asyncio
import smtplib
from email.message import EmailMessage

from appeals.envelope import Channel
from config.channel_settings import EmailSettings, FaxMailGateway
from connectors.email import build
from okno.outside.fax_document import make_fax_document
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports

DOCUMENT = make_fax_document(["В доме холодно."], "tiff")


def gateway_mail() -> bytes:
    mail = EmailMessage()
    mail["From"] = "Fax service <noreply@fax.example>"
    mail["To"] = "appeals@okno.localhost"
    mail["Subject"] = "Fax from +78121234567"
    mail["Message-ID"] = "<fax-1@fax.example>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("You have received a fax of 1 page.")
    mail.add_attachment(DOCUMENT, maintype="image", subtype="tiff", filename="fax.tif")
    return mail.as_bytes()


async def test_a_gateways_mail_is_registered_as_a_fax_once():
    """Over SMTP, twice: one envelope of channel fax, of the number in the subject, its TIFF to be recognised."""
    intake = RecordingIntake()
    settings = EmailSettings(smtp_port=0, fax_gateways=(FaxMailGateway(sender="*@fax.example"),))
    connector = build(settings, make_ports(intake))
    await connector.start()
    try:
        (address,) = [item for item in connector.health().addresses if item.startswith("smtp://")]
        mail = gateway_mail()  # once: its MIME boundary is chosen by chance
        for _ in range(2):
            await asyncio.to_thread(_send, int(address.rpartition(":")[2]), mail)
    finally:
        await connector.stop()
    fax = intake.only
    assert (fax.channel, fax.connector, fax.sender.value) == (Channel.FAX, "email", "+78121234567")
    assert (fax.recognise, fax.automatic) == (True, False)
    (page,) = fax.attachments
    assert page.detected_media_type == "image/tiff"
    assert intake.contents[page.sha256] == DOCUMENT


def _send(port: int, mail: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("bounce@fax.example", ["appeals@okno.localhost"], mail)
