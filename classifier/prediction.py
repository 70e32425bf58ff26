"""What the classifier says of one text. Imports nothing heavy: the daemon's main process uses it too."""

from dataclasses import dataclass

MAX_TEXT_CHARS = 4000  # an appeal says what it is about on its first page; bounds the work of a pasted book


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicGuess:
    """One topic with how sure the model is of it."""

    topic: str
    confidence: float  # calibrated probability, 0..1


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The model's answer for one text."""

    topic: str  # the best guess, however unsure
    confidence: float  # calibrated probability of `topic`, 0..1
    alternatives: tuple[TopicGuess, ...]  # the best three, best first; the first one is `topic`
    language: str  # BCP 47; "und" where the text does not tell
    priority: int  # 0..100, of `topic`
    expected_priority: int  # 0..100, the mean over all topics by probability: for texts the model is unsure of
