from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from config.errors import ConfigurationError
from config.yaml_file import load_yaml, parse_yaml, validate_model


class Server(BaseModel):
    """A part of the model under test."""

    model_config = ConfigDict(extra="forbid")
    host: str
    port: int = Field(ge=1, le=65535)
    password: str = ""
    tags: dict[str, int] = {}


class Config(BaseModel):
    """The model under test."""

    model_config = ConfigDict(extra="forbid")
    servers: list[Server]
    name: str = ""


def parse(text: str):
    return parse_yaml(dedent(text), file="okno.yaml")


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        validate_model(parse(text), Config)
    return caught.value.faults


def test_positions_are_of_the_value_and_of_the_key():
    """A path leads to line and column of the value, and of its key, from 1."""
    document = parse("servers:\n  - host: a\n    port: 25\n")
    assert document.data == {"servers": [{"host": "a", "port": 25}]}
    assert document.position(("servers", 0, "port")) == (3, 11)
    assert document.key_position(("servers", 0, "port")) == (3, 5)
    assert document.position(("servers", 0, "nothing", "here")) == (2, 5)
    assert document.position(()) == (1, 1)


def test_all_faults_at_once_with_caret():
    """Every fault of the model is reported in one go, each with its place, its line and a caret."""
    faults = faults_of("servers:\n  - host: a\n    port: 99999\n    prot: 1\n  - port: 25\nnam: x\n")
    assert [fault.split(" ")[0] for fault in faults] == [
        "okno.yaml:3:11:",
        "okno.yaml:4:5:",
        "okno.yaml:5:5:",
        "okno.yaml:6:1:",
    ]
    assert faults[0].splitlines()[1:] == ["        port: 99999", "              ^"]
    assert "servers[0].prot: there is no such key" in faults[1]
    assert "servers[1].host: is missing" in faults[2]


def test_secrets_are_not_shown():
    """The line of a fault does not show the value of a password or token."""
    (fault,) = faults_of("servers:\n  - {host: a, port: 1, password: [hunter2]}\n")[:1]
    assert "servers[0].password" in fault
    assert "okno.yaml:2:34" in fault
    (fault,) = faults_of("servers:\n  - host: a\n    port: 1\n    password: [hunter2]\n")
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1,", "okno.yaml:1:7", "flow"),
        ("a: b: c", "okno.yaml:1:5", "mapping values are not allowed here"),
        ("a: *x", "okno.yaml:1:4", "undefined alias"),
        ("a: &x [*x]", "okno.yaml:1:4", "contain itself"),
        ("a: !!python/object:os.system x", "okno.yaml:1:4", "tag"),
        ("a: 1\nb: 2\na: 3", "okno.yaml:3:1", "second time"),
        ("a: 1\n---\nb: 2", "okno.yaml:2:1", "another document"),
        ("a: x\x01", "okno.yaml:1:5", "U+0001"),
        ("? [a]\n: 1", "okno.yaml:1:3", "key must be plain text"),
        ("a: @x", "okno.yaml:1:4", "cannot start any token"),
        ("a: &x 1\nb: {<<: *x}", "okno.yaml:1:4", "merged"),
    ],
)
def test_improper_yaml_is_refused_at_its_place(text: str, place: str, words: str):
    """What is not proper YAML is refused with its line and column, never loaded in part."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    (fault,) = caught.value.faults
    assert fault.startswith(place)
    assert words in fault


def test_doubled_keys_and_tags_are_all_reported():
    """Two improper places make two faults."""
    with pytest.raises(ConfigurationError) as caught:
        parse("a: 1\na: 2\nb: !x 3\n")
    assert len(caught.value.faults) == 2


def test_multiplying_aliases_end():
    """A file whose aliases multiply to billions of values is refused instead of filling the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ConfigurationError, match="aliases are written out"):
        parse("\n".join(lines))


def test_deep_nesting_is_refused():
    """Nesting beyond any sense is a fault, not a RecursionError."""
    with pytest.raises(ConfigurationError):
        parse("[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigurationError, match="deeper"):
        parse("[" * 100 + "]" * 100)


def test_merge_keys_and_their_positions():
    """Merged keys are values of the mapping and stand where they are written."""
    document = parse("base: &b {port: 1}\nserver: {<<: *b, host: a}\n")
    assert document.data["server"] == {"port": 1, "host": "a"}
    assert document.position(("server", "port")) == (1, 17)


def test_yaml_1_2_scalars():
    """`yes`, dates and clock times are text; numbers, null and true are what they look like."""
    document = parse("a: yes\nb: 2026-01-01\nc: 1:30\nd: 0o17\ne: 1e3\nf: ~\ng: true\nh: -3\ni: .inf\nj: 0x1F\n")
    assert list(document.data.values()) == ["yes", "2026-01-01", "1:30", 15, 1000.0, None, True, -3, float("inf"), 31]


def test_missing_unreadable_and_undecodable_files(tmp_path: Path):
    """A file that is missing, a folder or not UTF-8 is a configuration error that names it."""
    with pytest.raises(ConfigurationError, match=r"none\.yaml"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_yaml(tmp_path)
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigurationError, match=r"bad\.yaml:2:4: not UTF-8"):
        load_yaml(bad)


def test_crlf_and_byte_order_mark(tmp_path: Path):
    """Files saved on Windows keep their lines and columns."""
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 22\r\n")
    document = load_yaml(file)
    assert document.data == {"a": 1, "b": 22}
    assert document.position(("b",)) == (2, 4)


def test_empty_file_is_an_empty_mapping():
    """An empty file is validated as one without keys."""
    assert parse("").data is None
    assert "servers: is missing" in faults_of("# nothing\n")[0]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("when: topic == foo", 1, 16),
        ('when: "topic == foo"', 1, 17),
        ("when: '''a'' + topic == foo'", 1, 25),
        ('when: "\\"a\\" \\u002b topic == foo"', 1, 30),
        ("when: |\n  topic ==\n    foo\n", 3, 5),
        ("when: >-  # folded\n  topic\n  == foo\n", 3, 6),
        ("when: topic\n  == foo\n", 2, 6),
        ('when: "topic \\\n   == foo"', 2, 7),
    ],
)
def test_place_inside_a_text(text: str, line: int, column: int):
    """A character inside a scalar is found in the file for every style of quoting and folding."""
    document = parse_yaml(text, file="f")
    assert document.position_in_text(("when",), document.data["when"].index("foo")) == (line, column)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60), st.sampled_from("'\"|"))
def test_visible_characters_are_found_exactly(value: str, style: str):
    """For any text in quotes or as a block, each letter's place holds that letter or its escape."""
    if style == "'":
        text = "k: '" + value.replace("'", "''") + "'\n"
    elif style == '"':
        text = 'k: "' + value.replace("\\", "\\\\").replace('"', '\\"') + '"\n'
    else:
        text = "k: |\n  " + value + "\n"
    try:
        if YAML(typ="safe", pure=True).load(text)["k"].rstrip("\n") != value:
            return
    except Exception:  # noqa: BLE001  not YAML: nothing is claimed
        return
    document = parse_yaml(text, file="f")
    lines = document.text.split("\n")
    for offset, character in enumerate(value):
        if character.isalnum() and character.isascii():
            line, column = document.position_in_text(("k",), offset)
            assert lines[line - 1][column - 1] == character
