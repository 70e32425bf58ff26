"""HylaFAX's receive folder: files under its lock, its log, numbers from both."""

import fcntl
import os
import time
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from config.channel_settings import FaxSettings
from connectors.fax.connector import FaxConnector
from connectors.fax.hylafax import FAXRCVD_S, HylafaxLayout, find_caller, parse_log_line
from connectors.fax.sinch import SinchGateway
from okno.outside.fax_document import make_fax_document
from tests.integration.fax.test_fax_spool import names, until, working
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports


def received(description: str = "") -> bytes:
    """Return a TIFF Class F as faxgetty writes it, with its ImageDescription."""
    with Image.open(BytesIO(make_fax_document(["Страница"], "tiff", compression="group3"))) as page:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        if description:
            tags[270] = description
        buffer = BytesIO()
        page.save(buffer, "TIFF", compression="group3", dpi=(204, 98), tiffinfo=tags)
    return buffer.getvalue()


def log_line(name: str, *, tsi: str = "", call_ids: tuple[str, ...] = (), reason: str = "") -> str:
    """Return a RECV line as xferfaxlog(5F) has it."""
    quoted = [f'"{item}"' for item in (reason, *call_ids)]
    first = ["10/16/26 12:45", "RECV", "000000123", "ttyS0", f"recvq/{name}", "", "fax", '"+78120000000"', f'"{tsi}"']
    return "\t".join([*first, "1179648", "1", "0:42", "0:40", *quoted, '""', '"00 56 78"'])


def make_connector(recvq: Path, intake: RecordingIntake, log: Path | None = None) -> FaxConnector:
    settings = FaxSettings(
        enabled=True, spool_dir=recvq, spool_layout="hylafax", hylafax_log=log, number="+78120000000"
    )
    ports = make_ports(intake)
    gateway = SinchGateway(settings, public_url=ports.public_url)
    return FaxConnector(settings, ports, gateways=(gateway,), settle_s=0.1, unreadable_after_s=0.3)


async def test_takes_received_faxes_and_nothing_else(tmp_path: Path):
    """fax*.tif is registered with the number in it and moved to done/; HylaFAX's own files stay where they are."""
    (tmp_path / "seqf").write_text("123")
    (tmp_path / "letter.tif").write_bytes(received())
    (tmp_path / "fax000000122.tif").write_bytes(received("SOKOLOVA\n88121234567\nSokolova V."))
    intake = RecordingIntake()
    async with working(make_connector(tmp_path, intake)):
        await until(lambda: names(tmp_path / "done") == ["fax000000122.tif"])
    assert intake.only.sender.value == "+78121234567"
    assert intake.only.recognise
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "failed", "letter.tif", "seqf"]


async def test_a_fax_still_coming_in_is_let_alone(tmp_path: Path):
    """While faxgetty holds the file's lock it is not looked at, however old it is; then it is taken."""
    file = tmp_path / "fax000000123.tif"
    file.write_bytes(received())
    os.utime(file, (time.time() - 3600, time.time() - 3600))
    intake = RecordingIntake()
    layout = HylafaxLayout(None)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not layout.is_complete(file)
        connector = make_connector(tmp_path, intake)
        await connector.start()
        await connector._spool.scan()
        await connector._spool.scan()
        assert intake.nothing_kept
    async with working(connector):
        await until(lambda: bool(intake.envelopes))


async def test_the_log_is_waited_for_and_names_the_caller(tmp_path: Path):
    """A young file without its line in xferfaxlog waits; the line brings the caller's number and what broke it off."""
    recvq, log = tmp_path / "recvq", tmp_path / "xferfaxlog"
    recvq.mkdir()
    log.write_text(log_line("fax000000124.tif", call_ids=("+79990000000",)) + "\n")
    (recvq / "fax000000123.tif").write_bytes(received("OFFICE 5"))
    intake = RecordingIntake()
    connector = make_connector(recvq, intake, log)
    assert not connector._spooled.layout.is_complete(recvq / "fax000000123.tif")
    async with working(connector):
        line = log_line(
            "fax000000123.tif", tsi="OFFICE 5", call_ids=("8 (812) 123-45-67", "Sokolova"), reason="Lost carrier"
        )
        with log.open("a") as file:
            file.write(line + "\n")
        await until(lambda: bool(intake.envelopes))
    assert intake.only.sender.value == "+78121234567"
    assert intake.only.marks == ("truncated",)
    assert "Lost carrier" in intake.only.text
    assert intake.only.sent_at is not None


def test_the_newest_line_about_a_file_counts(tmp_path: Path):
    """HylaFAX uses its numbers again; a missing log, and an old file without a line, hold nothing up."""
    log = tmp_path / "xferfaxlog"
    log.write_text(
        "\n".join([log_line("fax00001.tif", tsi="1111111"), log_line("fax00001.tif", tsi="2222222"), "junk"])
    )
    layout = HylafaxLayout(log)
    assert layout.find_call("fax00001.tif").tsi == "2222222"
    assert layout.find_call("fax00002.tif") is None
    old = tmp_path / "fax00002.tif"
    old.write_bytes(b"x")
    assert not layout.is_complete(old)
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    assert layout.is_complete(old)
    assert HylafaxLayout(tmp_path / "nothing").find_call("fax00001.tif") is None
    assert layout.settle_s == FAXRCVD_S


@pytest.mark.parametrize(
    ("description", "line", "number"),
    [
        ("+7 812 1234567", None, "+78121234567"),
        ("8 812 123 45 67", None, "+78121234567"),
        ("8121234567", None, "+78121234567"),
        ("+49 30 123456", None, "+4930123456"),
        ("<UNSPECIFIED>", None, ""),
        ("", None, ""),
        ("0000", None, ""),
        ("+78120000001\n+78121234567", None, "+78121234567"),
        ("+78120000001", log_line("f", call_ids=("", "+78121234567")), "+78121234567"),
        ("", log_line("f", tsi="+7 812 1234567"), "+78121234567"),
        ("", log_line("f", tsi="CITY HALL", call_ids=("anonymous",)), ""),
    ],
)
def test_what_the_network_says_is_believed_first(description: str, line: str | None, number: str):
    """Caller ID before what the machine says of itself; national numbers are those of the region."""
    call = parse_log_line(line, "f") if line else None
    assert find_caller(description, call, region="RU") == number


@given(line=st.text(max_size=200), description=st.text(max_size=60))
def test_any_text_is_a_line_or_none(line: str, description: str):
    """Neither the log nor the file can bring the reader down."""
    call = parse_log_line(line, "fax00001.tif")
    assert find_caller(description, call, region="RU") is not None
