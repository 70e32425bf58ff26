"""The default model and the texts it learns from: good enough for the demo, on texts written apart from them."""

import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest

from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from classifier.dataset import LabelledText, load_rows
from classifier.default_model import DEFAULT_TEXTS, HELD_OUT_TEXTS, default_model_path, staleness
from classifier.evaluation import evaluate
from classifier.features import prepare
from classifier.model import Model
from classifier.training import train
from config.taxonomy import UNKNOWN, Taxonomy
from okno.demo_messages import load_demo_messages, messages_for
from tests.unit.classifier.conftest import PRIORITIES, small_rows

ROOT = Path(__file__).parents[3]


def test_held_out_accuracy(default_model: Model, taxonomy: Taxonomy) -> None:
    """On 260 hand-written texts that avoid the training's words: right in two of three, in five of six within the first three."""
    result = evaluate(default_model, load_rows(HELD_OUT_TEXTS, topics=taxonomy.topics), threshold=0.5)
    assert result.accuracy >= 0.65
    assert result.macro_f1 >= 0.64
    assert result.top_3 >= 0.80
    assert result.calibration_error <= 0.15
    assert result.accuracy_above >= 0.75


def test_demo_messages_find_their_topics(default_model: Model) -> None:
    """Nine of ten of the demo's appeals get their topic and language."""
    messages = load_demo_messages()
    said = default_model.predict([f"{message.subject}\n{message.text}" for message in messages])
    right = sum(guess.topic == message.topic for guess, message in zip(said, messages, strict=True))
    assert right >= 0.9 * len(messages)
    assert all(guess.language == message.language for guess, message in zip(said, messages, strict=True))


def test_demo_messages_suit_every_channel(taxonomy: Taxonomy) -> None:
    """At least 120 different appeals, of every topic, in both languages, some for each channel."""
    messages = load_demo_messages()
    assert len({message.text for message in messages}) == len(messages) >= 120
    assert {message.topic for message in messages} == set(taxonomy.topics)
    assert {message.language for message in messages} == {"ru", "en"}
    written_by_citizens = set(Channel) - {Channel.PAPER, Channel.IN_PERSON}  # those two are written down by an agent
    assert all(len(messages_for(channel, messages)) >= 30 for channel in written_by_citizens)


def test_training_texts_cover_every_topic(taxonomy: Taxonomy) -> None:
    """Sixty texts a topic or more; ten held out a topic; no text in both."""
    rows, held_out = load_rows(DEFAULT_TEXTS), load_rows(HELD_OUT_TEXTS)
    counts = Counter(row.topic for row in rows)
    assert set(counts) == set(taxonomy.topics)
    assert min(counts.values()) >= 60
    assert min(Counter(row.topic for row in held_out).values()) >= 10
    assert not {prepare(row.text) for row in rows} & {prepare(row.text) for row in held_out}


def test_training_texts_are_what_the_generator_makes(tmp_path: Path) -> None:
    """The file in the repository is the generator's, not an edited one."""
    generator = runpy.run_path(str(ROOT / "bench" / "compose_training.py"))
    for name in ("phrases_ru.yaml", "phrases_en.yaml", "letters.csv"):
        (tmp_path / name).write_bytes((DEFAULT_TEXTS.parent / name).read_bytes())
    generator["main"](tmp_path)
    assert (tmp_path / "appeals.csv").read_bytes() == DEFAULT_TEXTS.read_bytes()


def test_thanks_and_advertisements_are_unknown(default_model: Model) -> None:
    """Small talk gets the topic `unknown` by itself, not a topic by chance."""
    said = default_model.predict(["Спасибо вам большое!", "Hello", "Кредит за пять минут без справок", "👍"])
    assert [guess.topic for guess in said] == [UNKNOWN] * 4


def test_staleness(small: Model, tmp_path: Path) -> None:
    """A model is stale when it is missing, unreadable, or made of other rows; fresh otherwise."""
    path = tmp_path / "model.skops"
    assert staleness(path, small_rows()) == "there is none yet"
    path.write_bytes(b"half a file")
    assert staleness(path, small_rows()) == "there is none that can be read"
    small.save(path)
    assert staleness(path, small_rows()) is None
    assert staleness(path, small_rows()[1:]) == "the labelled texts have changed"


def test_system_python_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a virtual environment the default model is kept in the data folder."""
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert default_model_path(tmp_path) == tmp_path / "model.skops"


def test_one_topic_is_refused() -> None:
    """Training needs two topics, and says so."""
    with pytest.raises(ConfigurationError, match="at least two topics"):
        train([row for row in small_rows() if row.topic == "heat"], priorities=PRIORITIES)


def test_texts_without_words_are_refused() -> None:
    """Nothing but punctuation cannot be learnt from: a clear error, not the library's."""
    rows = [LabelledText(text="!", topic=topic) for topic in ("heat", "road")]
    with pytest.raises(ConfigurationError, match="nothing to learn from"):
        train(rows, priorities=PRIORITIES)
