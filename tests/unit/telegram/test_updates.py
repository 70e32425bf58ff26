"""Cutting and reading updates, without a network."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appeals.envelope import BlobRef
from appeals.errors import DecodeError, TransientError
from connectors.telegram.envelope import Circumstances, ReceivedMessage, build_envelope
from connectors.telegram.files import files_of
from connectors.telegram.updates import (
    UPDATE_KINDS,
    ButtonPress,
    ChatMessage,
    Ignored,
    Withdrawal,
    raw_update,
    read_update,
    split_array,
    split_updates,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner), max_leaves=8
)


@given(st.lists(JSON, max_size=4), st.sampled_from([None, 1, 4]), st.booleans())
def test_each_update_is_cut_out_byte_for_byte(values: list[Any], indent: int | None, ascii_only: bool):  # noqa: FBT001
    """However the server lays its answer out, the pieces parse to the elements and are parts of the answer."""
    body = json.dumps({"x": [1], "ok": True, "result": values}, indent=indent, ensure_ascii=ascii_only)
    encoded = body.encode("utf-8", "surrogatepass")
    pieces = split_updates(encoded)
    assert [json.loads(piece.content.decode("utf-8", "surrogatepass")) for piece in pieces] == values
    assert all(piece.content in encoded for piece in pieces)


@given(st.binary(max_size=60))
def test_unreadable_answers_are_transient(body: bytes):
    """Garbage instead of an answer never moves anything; it is asked for again."""
    try:
        assert split_updates(body) == []
    except TransientError:
        return


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"ok":true}', b'{"result":5}', b'{"result":[1', b"[" * 100_000, b'{"result":[1 2]}']
)
def test_broken_answers(body: bytes):
    """Truncated and wrong answers are told apart from an empty list."""
    with pytest.raises(TransientError):
        split_updates(body)


KEYS = st.sampled_from(
    [
        "id",
        "from",
        "chat",
        "message",
        "data",
        "message_id",
        "message_ids",
        "date",
        "text",
        "type",
        "business_connection_id",
        "media_group_id",
        "poll",
        "options",
        "quote",
        "reply_to_message",
        "forward_origin",
        "contact",
        "location",
        "live_period",
        "checklist",
        "tasks",
        "user_id",
    ]
)
DEEP = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=12
)


@given(
    st.binary(max_size=100)
    | st.tuples(st.sampled_from((*UPDATE_KINDS, "poll_answer")), DEEP).map(
        lambda pair: json.dumps({"update_id": 1, pair[0]: pair[1]}).encode()
    )
)
def test_any_bytes_are_read_or_refused(content: bytes):
    """Whatever an update of any kind holds, reading ends in one of four or in a DecodeError with the bytes."""
    try:
        assert isinstance(read_update(content), (ChatMessage, ButtonPress, Withdrawal, Ignored))
    except DecodeError as error:
        assert error.data == content  # noqa: PT017 - or it must not raise at all


MESSAGE = st.fixed_dictionaries(
    {"message_id": st.integers(1, 2**40), "date": st.integers(0, 2**33), "chat": st.just({"id": 5, "type": "private"})},
    optional={
        "text": st.text(st.characters(codec=None), max_size=20),
        "caption": st.text(max_size=20),
        "from": st.fixed_dictionaries(
            {"id": st.just(5)}, optional={"first_name": st.text(), "language_code": st.text()}
        ),
        "photo": st.lists(st.fixed_dictionaries({"file_id": st.text(min_size=1)}), max_size=2),
        "document": st.fixed_dictionaries({"file_id": st.just("d")}, optional={"file_name": st.text()}),
        "venue": st.just({"location": {"latitude": 1, "longitude": 2.5}, "address": "a"}),
        "poll": st.just({}),
    },
)


@given(MESSAGE, st.booleans())
def test_every_message_makes_a_storable_envelope(message: dict[str, Any], edited: bool):  # noqa: FBT001
    """Envelopes of well-formed messages are never empty and hold neither NUL nor lone surrogates."""
    kind = "edited_message" if edited else "message"
    content = json.dumps({"update_id": 3, kind: message}).encode()
    try:
        incoming = read_update(content)
    except DecodeError:  # a file_id of control characters alone
        return
    assert isinstance(incoming, ChatMessage)
    circumstances = Circumstances(connector="telegram", bot_id=1, method="network", received_at=datetime.now(UTC))
    envelope = build_envelope(
        [ReceivedMessage(incoming=incoming)], circumstances, external_id="1:5:1", raw=BlobRef.of(content)
    )
    stored = envelope.model_dump_json()
    stored.encode()
    assert "\\u0000" not in stored
    assert envelope.text.strip() or files_of(incoming.message) or not message.get("text", "").strip()


def test_a_picture_is_one_file_and_a_gif_too():
    """Of several sizes the largest is taken; an animation's second entry is not a second file."""
    message = {
        "message_id": 1,
        "date": 1,
        "chat": {"id": 1},
        "from": {"id": 1},
        "photo": [{"file_id": "s", "width": 1, "height": 1}, {"file_id": "l", "width": 9, "height": 9}],
        "animation": {"file_id": "g", "mime_type": "video/mp4"},
        "document": {"file_id": "g", "file_name": "g.mp4"},
    }
    incoming = read_update(json.dumps({"update_id": 1, "message": message}).encode())
    assert isinstance(incoming, ChatMessage)
    assert [file.reference.file_id for file in files_of(incoming.message)] == ["l", "g"]


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_raw_update_and_an_array_or_not(content: bytes):
    """What came alone has its bytes; cutting an array ends in its elements or in a DecodeError."""
    assert raw_update(content).content == content
    try:
        pieces = split_array(content)
    except DecodeError as error:
        assert error.data == content  # noqa: PT017 - or it must not raise at all
    else:
        assert all(piece in content for piece in pieces)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/start", "/start"),
        ("/START@bot x", "/start"),
        ("start", ""),
        ("/", ""),
        ("/ул. Мира", ""),
        ("/status@bot 1", "/status"),
        (" /start", ""),
    ],
)
def test_commands(text: str, command: str):
    """A command is the first word, without the bot's name."""
    message = {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}, "text": text}
    incoming = read_update(json.dumps({"update_id": 1, "message": message}).encode())
    assert isinstance(incoming, ChatMessage)
    assert incoming.message.command == command
