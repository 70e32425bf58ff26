"""A citizen's browser as the form's own page is one: a challenge, its solution, the form."""

import io
import secrets
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from config.channel_settings import WebSettings
from connectors.web.proof_of_work import Challenge, solve
from connectors.web.submission import consent_mark

CONSENT = consent_mark(WebSettings().consent.ru)


@dataclass
class Citizen:
    """Posts forms."""

    client: aiohttp.ClientSession
    submission_id: str = field(default_factory=lambda: secrets.token_hex(16))

    async def proof(self) -> dict[str, str]:
        """Return the headers of a solved challenge."""
        async with self.client.post("/api/v1/citizen/challenge", json={"submission_id": self.submission_id}) as answer:
            assert answer.status == 200, await answer.text()
            wanted = await answer.json()
        challenge = Challenge(text=wanted["challenge"], difficulty_bits=wanted["difficulty_bits"])
        return {
            "X-Okno-Submission": self.submission_id,
            "X-Okno-Challenge": challenge.text,
            "X-Okno-Solution": solve(challenge),
        }

    def form(self, text: str = "В подъезде нет света.", **fields: str) -> dict[str, str]:
        """Return the fields of a form that is complete."""
        return {
            "submission_id": self.submission_id,
            "language": "ru",
            "text": text,
            "name": "Анна Иванова",
            "consent": CONSENT,
            **fields,
        }

    async def post(
        self,
        form: dict[str, str] | None = None,
        *,
        files: dict[str, bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Post a form, with a fresh proof unless `headers` are given; returns status and answer."""
        data = aiohttp.FormData(quote_fields=False)
        data._is_multipart = True  # a form without files is multipart, too
        for name, value in (self.form() if form is None else form).items():
            data.add_field(name, value)
        for name, content in (files or {}).items():
            data.add_field("files", io.BytesIO(content), filename=name, content_type="application/octet-stream")
        headers = await self.proof() if headers is None else headers
        async with self.client.post("/api/v1/citizen/appeals", data=data, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)
