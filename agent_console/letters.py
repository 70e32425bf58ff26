"""What the console needs of whoever registers and prints letters; the composition root hands it in."""

from datetime import date
from typing import Protocol

from appeals.appeal import Appeal
from appeals.letter import Letter
from appeals.registration import Registration
from appeals.reply import Reply
from config.channel_settings import PaperSettings


class LetterDesk(Protocol):
    """Registers letters and visits, prints slips and answers. `connectors.paper.desk.LetterDesk` is the real one."""

    @property
    def settings(self) -> PaperSettings:
        """Limits."""
        ...

    @property
    def today(self) -> date:
        """The office's local day."""
        ...

    async def register(self, letter: Letter) -> Registration:
        """Commit a letter with its scans; raises LetterRefusedError or TransientError. Idempotent by its content."""
        ...

    async def slip(self, appeal: Appeal, *, secret_code: str) -> bytes:
        """Return the visitor's slip as PDF."""
        ...

    async def letter(self, appeal: Appeal, reply: Reply) -> bytes:
        """Return an answer as a letter in PDF."""
        ...
