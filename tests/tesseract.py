"""Where Tesseract is found, with the languages that the tests read."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import ServerNotFoundError

LANGUAGES = frozenset({"rus", "eng"})


def find_tesseract() -> Path:
    """Return a tesseract that runs here and has Russian and English. Raises ServerNotFoundError."""
    for candidate in filter(None, (os.environ.get("OKNO_TEST_TESSERACT"), shutil.which("tesseract"))):
        try:
            done = subprocess.run([candidate, "--list-langs"], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        if set(done.stdout.split()) >= LANGUAGES:
            return Path(candidate)
    raise ServerNotFoundError("no Tesseract with Russian and English: install tesseract-ocr, tesseract-ocr-rus")
