"""Splitting of long replies."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.media import clean_text
from connectors.parts import MAX_UNFINISHED_REPLIES, SentParts, split_text


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(st.text(alphabet=st.sampled_from("ab \n🙂я\ud800"), max_size=60), st.integers(2, 20))
def test_nothing_but_white_space_is_dropped(text: str, limit: int):
    """Every part fits, none is empty, and together they are the whole text."""
    parts = split_text(text, limit=limit)
    assert all(part and units(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(clean_text(text).split())


@given(st.lists(st.text("abc", min_size=1, max_size=8), max_size=30), st.integers(8, 20))
def test_words_that_fit_stay_whole(words: list[str], limit: int):
    """No word is cut that is not longer than a part."""
    assert " ".join(split_text(" ".join(words), limit=limit)).split() == words


def test_line_ends_are_preferred():
    """A paragraph's end in the second half of a part is where it is cut."""
    assert split_text("aaaa\nbb cc dd", limit=9) == ["aaaa", "bb cc dd"]


def test_unfinished_replies_are_remembered_within_bounds():
    """The memory of taken parts does not grow for ever; finishing forgets."""
    sent = SentParts()
    for at in range(MAX_UNFINISHED_REPLIES + 5):
        sent.add(str(at), "x")
    assert sent.of("0") == ()
    sent.add("9", "y")
    assert sent.of("9") == ("x", "y")
    sent.finish("9")
    assert sent.of("9") == ()
