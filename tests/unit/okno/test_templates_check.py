"""`okno check` on the texts to citizens."""

from pathlib import Path

from config.settings import DeliverySettings, Settings
from okno.settings_check import check_settings


def test_a_wrong_placeholder_is_shown_in_its_place(tmp_path: Path):
    """The check shows file, line, column and what was meant, beside all other faults."""
    file = tmp_path / "templates.yaml"
    file.write_text('version: 1\nlanguages:\n  ru:\n    answer:\n      short: "{text} {nummer}"\n', encoding="utf-8")
    settings = Settings(data_dir=tmp_path, delivery=DeliverySettings(templates=file))
    (fault,) = check_settings(settings).faults
    assert f"{file}:5:22: there is no placeholder {{nummer}} here: did you mean {{number}}?" in fault
    assert "^" in fault
