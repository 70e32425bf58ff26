"""A small model, trained in well under a second, and the default one, trained once for all tests."""

import pytest

from classifier.dataset import LabelledText, load_rows
from classifier.default_model import DEFAULT_TEXTS
from classifier.model import Model
from classifier.training import train
from config.taxonomy import Taxonomy, load_taxonomy

PRIORITIES = {"heat": 70, "road": 40, "unknown": 30}
SMALL = {
    "heat": [
        "the radiator is cold",
        "no heating at home",
        "cold radiators again",
        "heating is off",
        "радиатор холодный",
    ],
    "road": [
        "a pothole in the road",
        "the road is broken",
        "potholes everywhere",
        "road needs repair",
        "яма на дороге",
    ],
    "unknown": ["hello", "thank you", "happy new year", "test", "спасибо"],
}


def small_rows() -> list[LabelledText]:
    return [LabelledText(text=text, topic=topic) for topic, texts in SMALL.items() for text in texts]


@pytest.fixture(scope="session")
def small() -> Model:
    return train(small_rows(), priorities=PRIORITIES)


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@pytest.fixture(scope="session")
def default_model(taxonomy: Taxonomy) -> Model:
    return train(load_rows(DEFAULT_TEXTS, topics=taxonomy.topics), priorities=taxonomy.priorities)
