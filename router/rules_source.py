"""The watched rule file: always the last version without faults."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from watchfiles import awatch

from appeals.errors import ConfigurationError
from router.rules import RuleSet, default_rules_path, load_rules

logger = structlog.get_logger(__name__)

DEBOUNCE_MS = 200  # an editor writes a file in several strokes
STEP_MS = 50
LOOK_AGAIN_S = 1.0  # the file is also read this often: network folders tell of no changes


class RulesSource:
    """A rule file, watched. `current` is the rule set in force, `faults` what is wrong with an edit not taken."""

    def __init__(self, path: Path | None = None) -> None:
        """Load the file; None: the one that comes with Okno. Raises ConfigurationError with every fault."""
        self.path = path or default_rules_path()
        self.current: RuleSet = load_rules(self.path)
        self.faults: tuple[str, ...] = ()
        self.author = _author(self.path)
        self._seen = self._content()
        for warning in self.current.warnings:
            logger.warning("router.rules_warning", fault=warning.split("\n", maxsplit=1)[0])

    async def watch(self) -> AsyncIterator[RuleSet]:
        """Yield each new rule set as soon as a valid edit is saved. An invalid one is logged and changes nothing."""
        async for _ in awatch(
            self.path.parent,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=round(LOOK_AGAIN_S * 1000),
            yield_on_timeout=True,
            recursive=False,
        ):
            rules = await asyncio.to_thread(self.reload)
            if rules is not None:
                yield rules

    def reload(self) -> RuleSet | None:
        """Read the file again; return the rule set if its meaning changed, else None."""
        content = self._content()
        if content == self._seen:
            return None
        self._seen = content
        try:
            rules = load_rules(self.path)
        except ConfigurationError as error:
            self.faults = error.faults
            for fault in error.faults:
                logger.error("router.rules_refused", fault=fault.split("\n", maxsplit=1)[0])  # noqa: TRY400  has its line
            return None
        self.faults = ()
        self.author = _author(self.path)
        changed = rules.hash != self.current.hash
        self.current = rules
        return rules if changed else None

    def _content(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except OSError:
            return None  # reload reports it


def _author(path: Path) -> str:
    try:
        return f"file:{path.owner()}"
    except (KeyError, OSError, NotImplementedError):
        return "file"
