import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from appeals.errors import ConfigurationError
from router.rules_source import RulesSource
from tests.integration.router.conftest import RULES, eventually


@asynccontextmanager
async def watching(source: RulesSource) -> AsyncIterator[list[str]]:
    """Collect the hashes of rule sets that go live."""
    seen: list[str] = []

    async def watch() -> None:
        async for rules in source.watch():
            seen.append(rules.hash)  # noqa: PERF401  looked at while it grows

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_saved_by_rename_removed_and_restored(tmp_path: Path):
    """Editors save by rename; a file that is away keeps the old rules in force, with a fault; back again clears it."""
    path = tmp_path / "routing.yaml"
    path.write_text(RULES)
    source = RulesSource(path)
    first = source.current.hash
    async with watching(source) as seen:
        edited = tmp_path / "routing.yaml.new"
        edited.write_text(RULES.replace("10m", "20m"))
        edited.rename(path)

        async def live() -> bool:
            return len(seen) == 1

        await eventually(live, what="the edit")
        assert source.current.hash != first
        path.unlink()

        async def missed() -> bool:
            return bool(source.faults)

        await eventually(missed, what="the fault")
        assert source.current.hash == seen[0]
        path.write_text(RULES.replace("10m", "20m"))

        async def well() -> bool:
            return not source.faults

        await eventually(well, what="the file to be back")
        assert len(seen) == 1


async def test_edit_of_layout_is_no_new_rule_set(tmp_path: Path):
    """A comment changes nothing that counts."""
    path = tmp_path / "routing.yaml"
    path.write_text(RULES)
    source = RulesSource(path)
    path.write_text("# a comment\n" + RULES)
    assert source.reload() is None
    assert source.author.startswith("file")


def test_a_faulty_file_at_start_is_refused(tmp_path: Path):
    """Without rules that ever were valid the router does not start; every fault is named."""
    path = tmp_path / "routing.yaml"
    path.write_text("version: 3\nrules: []\n")
    with pytest.raises(ConfigurationError) as caught:
        RulesSource(path)
    assert len(caught.value.faults) == 3
