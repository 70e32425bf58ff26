"""Settings: which source wins, and where a fault is said to be."""

from pathlib import Path

import pytest

from appeals.errors import ConfigurationError
from okno.settings_file import load_settings


def test_options_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each later source replaces keys of the earlier ones and leaves their neighbours alone."""
    file = tmp_path / "okno.yaml"
    file.write_text("http: {port: 1, host: 127.0.0.2, public_url: 'http://a'}\n")
    monkeypatch.setenv("OKNO_HTTP__PORT", "2")
    monkeypatch.setenv("OKNO_HTTP__HOST", "127.0.0.3")
    http = load_settings(file, overrides={"http": {"port": 3}}).http
    assert (http.port, http.host, http.public_url, http.trusted_proxies) == (3, "127.0.0.3", "http://a", ())


def test_relative_paths_count_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path in the file means the same wherever the command runs; absolute ones stay."""
    (tmp_path / "okno.yaml").write_text("data_dir: data\nrouting: {rules: routing.yaml}\nfax: {spool_dir: /spool}\n")
    monkeypatch.chdir("/")
    settings = load_settings(tmp_path / "okno.yaml")
    assert settings.data_dir == tmp_path / "data"
    assert settings.routing.rules == tmp_path / "routing.yaml"
    assert settings.fax.spool_dir == Path("/spool")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OKNO_HTTP__PORT", "x", "OKNO_HTTP__PORT: "),
        ("OKNO_HTTP__PROT", "1", "OKNO_HTTP__PROT: there is no such key"),
        ("OKNO_HTPT__PORT", "1", "OKNO_HTPT__PORT: there is no such section"),
        ("OKNO_HTTP", "x", "OKNO_HTTP: neither JSON"),
    ],
)
def test_a_variable_s_fault_is_the_variable_s(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A fault of the environment is not shown at a line of a file that is right."""
    file = tmp_path / "okno.yaml"
    file.write_text("http: {port: 1}\n")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    assert said in str(caught.value)
    assert "okno.yaml:" not in str(caught.value)


def test_what_others_set_is_not_ours(monkeypatch: pytest.MonkeyPatch):
    """Kubernetes sets OKNO_PORT and the like for a service called okno: no fault."""
    monkeypatch.setenv("OKNO_PORT", "tcp://10.0.0.1:80")
    assert load_settings(None).http.port == 8080
