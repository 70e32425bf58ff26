"""From a text to numbers: words, pairs of words, and pieces of words, which forgive typing errors and endings."""

import re
import unicodedata
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from classifier.prediction import MAX_TEXT_CHARS

MAX_WORD_FEATURES = 100_000
MAX_PIECE_FEATURES = 250_000  # together about 35 MB of float32 weights for 25 topics at the very most
MAX_REMEMBERED_WORDS = 50_000  # about 20 MB
MAX_REMEMBERED_CHARS = 40  # longer ones are no words
_NO_PIECES: NDArray[np.int32] = np.empty(0, dtype=np.int32)
_TERM_END = "\n"  # in no term: words have no white space, and pieces only blanks
_JOINED = re.compile(r"[\u0000-\u001f\u007f\u200b-\u200f\u2028\u2029\ufeff]+")


def prepare(text: str) -> str:
    """Return the part of `text` the model reads: at most 4,000 characters, NFKC, lower case, no controls, ё as е."""
    head = text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")  # lone surrogates become "?"
    folded = unicodedata.normalize("NFKC", head).lower().replace("ё", "е")
    return _JOINED.sub(" ", folded)[:MAX_TEXT_CHARS]


class PieceVectorizer(TfidfVectorizer):  # type: ignore[misc]  # scikit-learn ships no types
    """TF-IDF of character pieces, with the pieces of words it has met before remembered.

    The same numbers as scikit-learn's `char_wb` with sublinear_tf and norm l2, several times faster on long texts:
    words repeat, and taking them to pieces is what costs.
    """

    def transform(self, raw_documents: Sequence[str]) -> csr_matrix:
        """Return float32 (n, n_pieces) of `n` prepared texts."""
        if "memory_" not in self.__dict__:
            self.memory_: dict[str, NDArray[np.int32]] = {}
        columns, values, ends = [_NO_PIECES], [np.empty(0, dtype=np.float32)], [0]
        for text in raw_documents:
            pieces = np.concatenate([_NO_PIECES, *map(self._pieces, text.split())])
            found, counts = np.unique(pieces, return_counts=True)
            weights = (1.0 + np.log(counts)) * self.idf_[found]
            length = np.sqrt(weights @ weights) if len(found) else 1.0
            columns.append(found)
            values.append((weights / length).astype(np.float32))
            ends.append(ends[-1] + len(found))
        shape = (len(ends) - 1, len(self.vocabulary_))
        return csr_matrix((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=shape)

    def _pieces(self, word: str) -> NDArray[np.int32]:
        """Return the columns of the pieces of one word, a column as often as its piece occurs."""
        known = self.memory_.get(word)
        if known is None:
            columns = (self.vocabulary_.get(piece, -1) for piece in self._char_wb_ngrams(word))
            known = np.array([column for column in columns if column >= 0], dtype=np.int32)
            if len(word) <= MAX_REMEMBERED_CHARS:
                if len(self.memory_) >= MAX_REMEMBERED_WORDS:
                    self.memory_.clear()
                self.memory_[word] = known
        return known


def build_features() -> FeatureUnion:
    """Return the untrained features: TF-IDF of words (1-2) and of character pieces within words (2-5), float32."""
    words = TfidfVectorizer(
        lowercase=False,  # `prepare` did it
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=MAX_WORD_FEATURES,
        dtype=np.float32,
    )
    pieces = PieceVectorizer(
        lowercase=False,
        analyzer="char_wb",
        ngram_range=(2, 5),
        min_df=2,
        sublinear_tf=True,
        max_features=MAX_PIECE_FEATURES,
        dtype=np.float32,
    )
    return FeatureUnion([("words", words), ("pieces", pieces)])


def pack_vocabularies(features: FeatureUnion) -> FeatureUnion:
    """Return a copy with the vocabularies as UTF-8 arrays: skops takes a minute for a dict of 40,000 terms."""
    packed = copy(features)
    packed.transformer_list = [(name, _packed(vectorizer)) for name, vectorizer in features.transformer_list]
    return packed


def unpack_vocabularies(features: FeatureUnion) -> FeatureUnion:
    """Undo `pack_vocabularies` in place. Raises AttributeError, TypeError or ValueError on anything else."""
    for _, vectorizer in features.transformer_list:
        terms = vectorizer.vocabulary_.tobytes().decode().split(_TERM_END)
        vectorizer.vocabulary_ = {term: index for index, term in enumerate(terms)}
    return features


def _packed(vectorizer: TfidfVectorizer) -> TfidfVectorizer:
    result = copy(vectorizer)
    result.__dict__.pop("memory_", None)
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    result.vocabulary_ = np.frombuffer(_TERM_END.join(terms).encode(), dtype=np.uint8)
    return result
