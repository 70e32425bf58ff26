"""From a text to numbers: words, pairs of words, and pieces of words, which forgive typing errors and endings."""

import re
import unicodedata
from copy import copy

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from classifier.prediction import MAX_TEXT_CHARS

MAX_WORD_FEATURES = 100_000
MAX_PIECE_FEATURES = 250_000  # together about 35 MB of float32 weights for 25 topics at the very most
_TERM_END = "\n"  # in no term: words have no white space, and pieces only blanks
_JOINED = re.compile(r"[\u0000-\u001f\u007f\u200b-\u200f\u2028\u2029\ufeff]+")


def prepare(text: str) -> str:
    """Return the part of `text` the model reads: at most 4,000 characters, NFKC, lower case, no controls, ё as е."""
    head = text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")  # lone surrogates become "?"
    folded = unicodedata.normalize("NFKC", head).lower().replace("ё", "е")
    return _JOINED.sub(" ", folded)[:MAX_TEXT_CHARS]


def build_features() -> FeatureUnion:
    """Return the untrained features: TF-IDF of words (1-2) and of character pieces within words (2-5), float32."""
    words = TfidfVectorizer(
        lowercase=False,  # `prepare` did it
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=MAX_WORD_FEATURES,
        dtype=np.float32,
    )
    pieces = TfidfVectorizer(
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
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    result.vocabulary_ = np.frombuffer(_TERM_END.join(terms).encode(), dtype=np.uint8)
    return result
