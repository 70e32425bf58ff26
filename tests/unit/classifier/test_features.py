"""Features: the faster character pieces are scikit-learn's own, and texts are prepared alike however they come."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from classifier.features import MAX_REMEMBERED_CHARS, PieceVectorizer, build_features, prepare
from classifier.prediction import MAX_TEXT_CHARS
from tests.unit.classifier.conftest import small_rows


@pytest.fixture(scope="module")
def pair() -> tuple[TfidfVectorizer, PieceVectorizer]:
    ours = dict(build_features().transformer_list)["pieces"]
    theirs = TfidfVectorizer(**ours.get_params())
    texts = [prepare(row.text) for row in small_rows()]
    assert abs(theirs.fit_transform(texts) - ours.fit_transform(texts)).max() < 1e-6
    return theirs, ours


@settings(deadline=None)
@given(texts=st.lists(st.text(alphabet="road cold яма\u00a0\u0085x", max_size=80), min_size=1, max_size=4))
def test_pieces_are_scikit_learns(pair: tuple[TfidfVectorizer, PieceVectorizer], texts: list[str]) -> None:
    """For any texts, the same numbers as the library's `char_wb`; also when words come again."""
    theirs, ours = pair
    for _ in range(2):
        assert abs(theirs.transform(texts) - ours.transform(texts)).max() < 1e-6


def test_memory_is_bounded(pair: tuple[TfidfVectorizer, PieceVectorizer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are remembered up to a number and a length: a flood of new words does not grow the process."""
    monkeypatch.setattr("classifier.features.MAX_REMEMBERED_WORDS", 10)
    _, ours = pair
    ours.transform([" ".join(f"word{number}" for number in range(100)), "y" * 4000])
    assert len(ours.memory_) <= 10
    assert all(len(word) <= MAX_REMEMBERED_CHARS for word in ours.memory_)


@given(text=st.text())
def test_prepared_texts_are_bounded(text: str) -> None:
    """Whatever comes in, at most 4,000 characters come out, without NULs and lone surrogates."""
    prepared = prepare(text)
    assert len(prepared) <= MAX_TEXT_CHARS
    assert "\0" not in prepared
    prepared.encode()


def test_forms_of_one_text_are_alike() -> None:
    """Capitals, ё, full-width letters and zero-width blanks make no difference."""
    assert prepare("ЁЛКА") == prepare("елка")
    assert prepare("ＲＯＡＤ") == "road"
    assert prepare("a\u200bb\r\nc") == "a b c"
