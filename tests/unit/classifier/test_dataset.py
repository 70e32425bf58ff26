"""Labelled files: both forms are read, and every fault is named with its line."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appeals.errors import ConfigurationError
from classifier.dataset import LabelledText, data_hash, load_rows

TOPICS = {"heat", "road"}


def write(folder: Path, content: bytes | str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_is_read(tmp_path: Path) -> None:
    """Quotes, line breaks, a byte order mark, columns in any order, unknown columns, an empty priority."""
    text = '\ufefftopic,when,text,priority,group\nheat,now,"cold, ""very""\ncold",70,a\n\nroad,,hole,,\n'
    assert load_rows(write(tmp_path, text), topics=TOPICS) == [
        LabelledText(text='cold, "very"\ncold', topic="heat", priority=70, group="a"),
        LabelledText(text="hole", topic="road"),
    ]


def test_json_lines_are_read(tmp_path: Path) -> None:
    """A file named .jsonl holds one object a line; empty lines are passed over."""
    lines = '{"text": "яма", "topic": "road", "priority": 0}\n\n{"text": "cold", "topic": "heat"}\n'
    rows = load_rows(write(tmp_path, lines, "rows.jsonl"), topics=TOPICS)
    assert [(row.text, row.topic, row.priority) for row in rows] == [("яма", "road", 0), ("cold", "heat", None)]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    """Each bad row is named by the line it starts at, all in one error."""
    content = 'text,topic,priority\nok,heat,1\n,heat,\nx,moon,\ny,heat,101\n"a\nb",heat,-1\nz,heat\n'
    with pytest.raises(ConfigurationError) as caught:
        load_rows(write(tmp_path, content), topics=TOPICS)
    faults = [fault.rsplit("rows.csv:", 1)[1] for fault in caught.value.faults]
    assert faults == [
        "3: the text is empty",
        "4: the topic 'moon' is not in the taxonomy",
        "5: the priority '101' is not a whole number from 0 to 100",
        "6: the priority '-1' is not a whole number from 0 to 100",
        "8: 2 fields where the header has 3",
    ]


def test_many_faults_are_counted(tmp_path: Path) -> None:
    """A file of nothing but faults lists twenty and counts the others."""
    with pytest.raises(ConfigurationError, match="100 faults") as caught:
        load_rows(write(tmp_path, "text,topic\n" + "x,moon\n" * 100), topics=TOPICS)
    assert len(caught.value.faults) == 21
    assert caught.value.faults[-1] == "… and 80 more"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the header must name"),
        (b"a,b\n1,2\n", "the header must name"),
        (b"text,topic,text\nx,heat,y\n", "the header must name"),
        (b"text,topic\n", "no labelled texts"),
        (b"text,topic\n\xff\xfe,heat\n", "not UTF-8"),
        (b'text,topic\n"open,heat\n', "not proper CSV"),
        (b"text,topic\n" + b"x" * 200_000 + b",heat\n", "not proper CSV"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """An empty file, a wrong header, no rows, other encodings, broken quotes: one clear error each."""
    with pytest.raises(ConfigurationError, match=reason):
        load_rows(write(tmp_path, content), topics=TOPICS)


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    """Not JSON, not an object, a number for a text, a boolean priority: each by its line."""
    lines = '{\n[]\n{"text": 1, "topic": "heat"}\n{"text": "x", "topic": "heat", "priority": true}\n'
    with pytest.raises(ConfigurationError) as caught:
        load_rows(write(tmp_path, lines, "rows.jsonl"), topics=TOPICS)
    assert [fault.rsplit("jsonl:", 1)[1][:2] for fault in caught.value.faults] == ["1:", "2:", "3:", "4:"]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is a clear error."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_rows(tmp_path / "none.csv")


@given(content=st.binary(max_size=300), name=st.sampled_from(["rows.csv", "rows.jsonl"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    """Whatever the bytes, the answer is rows or a ConfigurationError."""
    path = write(tmp_path_factory.mktemp("rows"), content, name)
    with suppress(ConfigurationError):
        assert load_rows(path)


def test_hash_tells_rows_apart() -> None:
    """The hash of the data changes with text, topic, priority and group."""
    rows = [
        LabelledText(text="a", topic="b"),
        LabelledText(text="a", topic="c"),
        LabelledText(text="a", topic="b", priority=0),
        LabelledText(text="a", topic="b", group="g"),
        LabelledText(text=json.dumps(["a", "b"]), topic=""),
    ]
    assert len({data_hash([row]) for row in rows}) == len(rows)
    assert data_hash(rows) != data_hash(rows[::-1])
