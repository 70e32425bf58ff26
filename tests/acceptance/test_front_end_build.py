"""The front end is built from a clean tree by the packaging hook, twice the same, and lands in the wheel."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = {"node_modules", "dist", "__pycache__"}
PROBE_TIMEOUT_S = 30.0


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """Return the build hook's module. Skips without a Node.js and a reachable npm registry; fails in CI."""
    module = load_hook()
    try:
        front_end = module.FrontEnd(ROOT)
        front_end.npm("ping", f"--fetch-timeout={int(PROBE_TIMEOUT_S * 1000)}", "--fetch-retries=0")
    except module.FrontEndError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no front-end build here: {str(error).splitlines()[0]}")
    return module


@pytest.fixture(scope="module")
def built(hook: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a front end installed and built from a clean tree."""
    front_end = hook.FrontEnd(clean_tree(tmp_path_factory.mktemp("clean")))
    assert front_end.build_if_stale()
    return front_end


def clean_tree(folder: Path) -> Path:
    """Copy what a fresh clone has of the front end."""
    web = folder / "agent_console" / "web"
    web.parent.mkdir(parents=True)
    shutil.copytree(ROOT / "agent_console" / "web", web, ignore=shutil.ignore_patterns(*MADE))
    return folder


def contents(dist: Path) -> dict[str, str]:
    return {
        path.relative_to(dist).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in dist.rglob("*")
        if path.is_file()
    }


def test_a_clean_tree_builds_to_the_same_bytes_elsewhere(hook: ModuleType, built: Any, tmp_path: Path):
    """Two trees in different places, with the same locked packages, give identical files."""
    other = hook.FrontEnd(clean_tree(tmp_path / "some" / "where" / "else"))
    shutil.copytree(built.web / "node_modules", other.web / "node_modules", symlinks=True, copy_function=os.link)
    assert other.build_if_stale()
    assert contents(other.dist) == contents(built.dist)
    assert {"index.html", "status.html"} <= contents(built.dist).keys()


def test_only_a_changed_tree_is_built_again(hook: ModuleType, built: Any, tmp_path: Path):
    """The hook does nothing when `dist` is from these very sources, and builds when a source has changed."""
    tree = hook.FrontEnd(clean_tree(tmp_path))
    for made in ("node_modules", "dist"):
        shutil.copytree(built.web / made, tree.web / made, symlinks=True, copy_function=os.link)
    assert not tree.build_if_stale()
    before = contents(tree.dist)
    style = tree.web / "src" / "status" / "status.css"
    style.write_text(style.read_text() + "\n.changed { color: red; }\n")
    assert tree.build_if_stale()
    assert contents(tree.dist) != before


def test_pages_ask_nothing_of_other_hosts_and_need_no_inline_script(hook: ModuleType, built: Any):
    """The built pages name only files of their own, and hold no inline script or style for a strict CSP to refuse."""
    for page in hook.PAGES:
        markup = (built.dist / page).read_text()
        assert "<style" not in markup
        assert 'src="http' not in markup
        assert 'href="http' not in markup
        assert markup.count("<script") == markup.count('src="/assets/')
    for style in built.dist.glob("assets/*.css"):
        text = style.read_text()
        assert "@import" not in text
        assert "url(http" not in text


def test_the_wheel_carries_the_pages_and_not_their_sources(built: Any):
    """A wheel built by hatchling holds dist/ and neither sources, nor node_modules, nor a lock file."""
    tree: Path = built.root
    for name in ("okno", "connectors", "classifier", "router", "queues", "config", "appeals"):
        (tree / name).mkdir()
        (tree / name / "__init__.py").touch()
    (tree / "agent_console" / "__init__.py").touch()
    for name in ("pyproject.toml", "hatch_build.py", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    (tree / "README.md").touch()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "wheel"], cwd=tree, check=True)
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if name.startswith("agent_console/web/")]
    assert "agent_console/web/dist/index.html" in names
    assert "agent_console/web/dist/status.html" in names
    assert all(name.startswith("agent_console/web/dist/") for name in names)


def test_a_lock_file_that_names_a_registry_is_refused_with_its_line(tmp_path: Path):
    """The check tells the line of a lock file that would tie every clone to one registry's address."""
    module = load_hook()
    front_end = module.FrontEnd(tmp_path)
    front_end.web.mkdir(parents=True)
    (front_end.web / "package-lock.json").write_text('{\n  "resolved": "https://registry.example/vue.tgz"\n}\n')
    with pytest.raises(module.FrontEndError, match=r"package-lock\.json:2 "):
        front_end.check_lock()


def test_the_committed_lock_file_names_no_registry():
    """A clone installs from whatever registry its machine is set to."""
    load_hook().FrontEnd(ROOT).check_lock()


def test_a_failing_build_says_what_failed_and_how_to_go_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A person who cannot build gets the command, the end of its output, and the way to install without the pages."""
    module = load_hook()
    front_end = module.FrontEnd(tmp_path)
    front_end.web.mkdir(parents=True)
    monkeypatch.setattr(
        module, "_find_node", lambda: (Path(sys.executable), [sys.executable, "-c", "raise SystemExit('no registry')"])
    )
    with pytest.raises(module.FrontEndError, match=r"(?s)no registry.*OKNO_SKIP_WEB_BUILD=1"):
        front_end.npm("ci")
