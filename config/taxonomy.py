"""The taxonomy: which topics an appeal can have, the skill each needs, and the priority each starts with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.yaml_file import load_yaml, validate_model

UNKNOWN = "unknown"  # the topic of an appeal that the classifier is not sure about: it goes to triage
DEFAULT_TAXONOMY = Path(__file__).parent / "defaults" / "taxonomy.yaml"

TopicCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$", max_length=64)]
SkillName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
LanguageTag = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]  # BCP 47


class TaxonomyTopic(BaseModel):
    """One topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skill: SkillName  # an agent needs it to answer
    priority: int = Field(ge=0, le=100)  # where an appeal of this topic starts
    title: Mapping[LanguageTag, Annotated[str, Field(min_length=1, max_length=100)]] = Field(min_length=1)


class Taxonomy(BaseModel):
    """All topics, by code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    topics: Mapping[TopicCode, TaxonomyTopic]

    @model_validator(mode="after")
    def _check_unknown(self) -> Self:
        if UNKNOWN not in self.topics:
            raise ValueError(f"there must be a topic {UNKNOWN!r}: appeals that no topic is sure for get it")
        return self

    @property
    def skills(self) -> frozenset[str]:
        """Every skill that a topic needs."""
        return frozenset(topic.skill for topic in self.topics.values())

    @property
    def priorities(self) -> dict[str, int]:
        """The base priority of each topic, 0..100."""
        return {code: topic.priority for code, topic in self.topics.items()}

    def title(self, code: str, language: str) -> str:
        """Return the topic's title in `language` (BCP 47; its first part counts), else in any, else the code."""
        topic = self.topics.get(code)
        if topic is None:
            return code
        titles = topic.title
        return titles.get(language) or titles.get(language.split("-", maxsplit=1)[0]) or next(iter(titles.values()))


def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """Read a taxonomy; None: the one that comes with Okno. Raises ConfigurationError with every fault in its place."""
    return validate_model(load_yaml(path or DEFAULT_TAXONOMY), Taxonomy)
