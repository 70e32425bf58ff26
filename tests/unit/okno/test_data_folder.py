"""The data folder: its lock and its key."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from appeals.errors import ConfigurationError
from config.settings import Settings
from okno.data_folder import only_process, prepare_data_folder
from okno.secret_key import load_secret_key


def test_one_process_at_a_time(tmp_path: Path):
    """A second holder is refused by the first one's number; the lock is free after it."""
    with only_process(tmp_path), pytest.raises(ConfigurationError, match=r"process \d+"), only_process(tmp_path):
        pass
    with only_process(tmp_path):
        pass


def test_the_folder_is_its_owner_s(tmp_path: Path):
    """The folder is made for its owner only; a file in its place is a clear refusal."""
    folder = prepare_data_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="data_dir"):
        prepare_data_folder(tmp_path / "file")


def test_the_key_is_made_once(tmp_path: Path):
    """The key stays the same, only its owner reads it, and a damaged one is not replaced."""
    settings = Settings(data_dir=tmp_path)
    assert load_secret_key(settings) == load_secret_key(settings)
    path = tmp_path / "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("")
    with pytest.raises(ConfigurationError, match="damaged"):
        load_secret_key(settings)
    with pytest.raises(ConfigurationError, match="at least 32"):
        load_secret_key(settings.model_copy(update={"secret_key": SecretStr("short")}))
