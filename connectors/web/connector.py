"""The web connector: the citizen's form in; answers are read on the citizen's page."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import web

from appeals.envelope import AuthenticityResult, Channel
from appeals.errors import DecodeError
from appeals.registration import QuarantineItem, Registration
from appeals.reply import DeliveryState
from config.channel_settings import WebSettings
from config.section import MIB
from config.taxonomy import UNKNOWN
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.in_hand import InHand
from connectors.problem import answering_problems, read_body, register_or_quarantine
from connectors.web.body import spooled_body
from connectors.web.envelope import DecodedSubmission, build_envelope, code_to_tell
from connectors.web.form_data import parse_form_data
from connectors.web.plain_form import NO_PROOF, PlainForm
from connectors.web.proof_of_work import ProofOfWork, ProofRefusedError
from connectors.web.refusal import is_foreign, refusal
from connectors.web.submission import FormRefusedError, Submission, consent_mark, is_submission_id, read_submission
from connectors.web.visitor_limit import VisitorLimit

logger = structlog.get_logger(__name__)

FORM_ROOM_BYTES = 2 * MIB  # the text, percent signs and boundaries around the files
MAX_CHALLENGE_BYTES = 1024  # of a request for one
WHOLE_IN_MEMORY = 4  # bodies: each may be as large as all files together, twice
NO_STORE = {"Cache-Control": "no-store"}
PROOF = AuthenticityResult(method="proof_of_work", result="pass")


class WebConnector(Connector):
    """Takes the form of the citizen's page in. Anybody may use it: nothing is believed, everything is limited."""

    channel = Channel.WEB

    def __init__(self, settings: WebSettings, ports: ConnectorPorts) -> None:
        self.name = "web"
        self._settings = settings
        self._ports = ports
        self._proofs = ProofOfWork(ports.signing_key, ttl_s=settings.challenge_ttl_s)
        self._visitors = VisitorLimit("web", per_hour=settings.submissions_per_hour)
        self._plain = PlainForm(settings, ports, take_in=self.take_in)
        self._in_hand = InHand()
        self._loading = asyncio.Semaphore(WHOLE_IN_MEMORY)
        self._state = HealthState.STARTING
        self._last_message_at: datetime | None = None

    @property
    def max_body_bytes(self) -> int:
        """How large a whole form may be."""
        return self._settings.max_total_bytes + FORM_ROOM_BYTES

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the page asks, what it posts, and the form without JavaScript."""
        return (
            web.get("/api/v1/citizen/form", answering_problems(self._show_form)),
            web.post("/api/v1/citizen/challenge", answering_problems(self._issue_challenge)),
            web.post("/api/v1/citizen/appeals", answering_problems(self._receive)),
            *self._plain.routes(),
        )

    async def start(self) -> None:
        """Begin to take forms in."""
        self._state = HealthState.UP

    async def stop(self) -> None:
        """Refuse new forms with 503 and finish what is in hand. Idempotent."""
        self._state = HealthState.STOPPED
        await self._in_hand.finish()

    def health(self) -> ConnectorHealth:
        """Report now."""
        return ConnectorHealth(
            state=self._state,
            addresses=(f"{self._ports.public_url}/write",),
            last_message_at=self._last_message_at,
        )

    async def send(self, message: OutboundMessage) -> Receipt:
        """Do nothing: the registry holds the answer, and the citizen's page shows it by number and code at once.

        Delivered is as much as this channel can say. Idempotent.
        """
        return Receipt(
            external_id=str(message.reply_id), state=DeliveryState.DELIVERED, detail="shown on the citizen's page"
        )

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Register a form out of quarantine: a person found that no machine wrote it. Raises DecodeError.

        The limits of size are not asked again; what the form must have is.
        """
        try:
            submission = await asyncio.to_thread(self._read, content, context.get("content_type", ""))
        except FormRefusedError as error:
            raise DecodeError(f"the form is not complete: {error}", data=content) from error
        proof = PROOF if context.get("proof_of_work") == PROOF.result else NO_PROOF
        return await self._register(submission, content, context.get("content_type", ""), proof)

    # ---- what the page asks
    async def _show_form(self, request: web.Request) -> web.Response:
        del request
        settings = self._settings
        topics = self._ports.taxonomy.topics.items()
        form = {
            "topics": [{"code": code, "title": dict(topic.title)} for code, topic in topics if code != UNKNOWN],
            "consent": {
                language: {"text": text, "mark": consent_mark(text)}
                for language, text in (("ru", settings.consent.ru), ("en", settings.consent.en))
            },
            "answer_by": ["page", *settings.answer_by],
            "max_text_chars": settings.max_text_chars,
            "max_files": settings.max_files,
            "max_file_bytes": settings.max_file_bytes,
            "max_total_bytes": settings.max_total_bytes,
        }
        return web.json_response(form, headers=NO_STORE)

    async def _issue_challenge(self, request: web.Request) -> web.Response:
        """Answer a challenge for the submission id that the browser drew."""
        body = await read_body(request, max_bytes=MAX_CHALLENGE_BYTES)
        submission_id = _submission_id_of(body)
        if submission_id is None:
            return refusal(HTTPStatus.BAD_REQUEST, "invalid_request")
        address = self._ports.client_address(request)
        bits = self._settings.difficulty_bits
        challenge = self._proofs.issue(
            submission_id,
            difficulty_bits=bits + self._visitors.extra_bits(address) if bits else 0,
            now=self._ports.now(),
        )
        answer = {
            "challenge": challenge.text,
            "difficulty_bits": challenge.difficulty_bits,
            "expires_in_s": self._settings.challenge_ttl_s,
        }
        return web.json_response(answer, headers=NO_STORE)

    # ---- the form itself
    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if is_foreign(request):
            return refusal(HTTPStatus.FORBIDDEN, "foreign_page")
        address = self._ports.client_address(request)
        if (wait_s := self._visitors.wait_s(address)) is not None:
            return refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", retry_after_s=wait_s)
        submission_id = request.headers.get("X-Okno-Submission", "")
        try:  # before the body: who has not worked shall not make us read files
            self._proofs.check(
                request.headers.get("X-Okno-Challenge", ""),
                request.headers.get("X-Okno-Solution", ""),
                submission_id=submission_id,
                now=self._ports.now(),
            )
        except ProofRefusedError as error:
            logger.info("connector.proof_refused", connector=self.name, reason=str(error))
            return refusal(HTTPStatus.PRECONDITION_REQUIRED, "challenge_required")
        try:
            submission, kept = await self.take_in(request, PROOF, submission_id=submission_id)
        except FormRefusedError as error:
            return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_form", faults=error.faults)
        except DecodeError:
            return refusal(HTTPStatus.BAD_REQUEST, "invalid_request")
        except web.HTTPRequestEntityTooLarge:
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")
        self._visitors.count(address)
        if not isinstance(kept, Registration):
            return web.json_response({"reference": str(kept)}, status=HTTPStatus.ACCEPTED, headers=NO_STORE)
        status = HTTPStatus.OK if kept.duplicate else HTTPStatus.CREATED
        answer = {
            "number": kept.number,
            "code": code_to_tell(submission, kept),
            "duplicate": kept.duplicate,
            "joined": kept.joined,
        }
        return web.json_response(answer, status=status, headers=NO_STORE)

    async def take_in(
        self,
        request: web.Request,
        proof: AuthenticityResult,
        *,
        submission_id: str = "",
        doubt_of: Callable[[Submission], str] = lambda _: "",
    ) -> tuple[Submission, Registration | UUID]:
        """Read a form and register it; what looks like a machine's (`doubt_of` says why) goes to quarantine.

        Returns the submission with its registration, or with the quarantine entry's id; either is committed. Raises
        FormRefusedError, DecodeError, TransientError and aiohttp's 413 and 400: then nothing was kept.
        """
        content_type = request.headers.get("Content-Type", "")
        async with (
            spooled_body(request, max_bytes=self.max_body_bytes) as file,
            self._loading,
            self._in_hand.hold(),  # not while it is read: a slow sender must not hold up `stop`
        ):
            body = await asyncio.to_thread(file.read)
            submission = await asyncio.to_thread(self._read, body, content_type)
            if submission_id not in ("", submission.id):
                raise DecodeError("the form's id is not that of its proof of work", data=body)
            doubt = submission.suspicious or doubt_of(submission)
            kept = await self._keep(submission, body, content_type, proof=proof, doubt=doubt)
        return submission, kept

    def _read(self, body: bytes, content_type: str) -> Submission:
        form = parse_form_data(body, content_type)
        return read_submission(form, settings=self._settings, taxonomy=self._ports.taxonomy)

    async def _keep(
        self, submission: Submission, body: bytes, content_type: str, *, proof: AuthenticityResult, doubt: str
    ) -> Registration | UUID:
        item = QuarantineItem(
            connector=self.name,
            channel=self.channel,
            stage="receive",
            reason=doubt,
            context={"content_type": content_type, "proof_of_work": proof.result},
        )
        if doubt:
            logger.warning("connector.message_quarantined", connector=self.name, stage="receive", reason=doubt)
            return await self._ports.intake.quarantine(item, body)
        return await register_or_quarantine(
            self._ports.intake,
            lambda: self._register(submission, body, content_type, proof),
            item=item,
            content=body,
        )

    async def _register(
        self, submission: Submission, body: bytes, content_type: str, proof: AuthenticityResult
    ) -> Registration:
        decoded = await asyncio.to_thread(self._decode, submission, body, content_type, proof)
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        self._last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self.name,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    def _decode(
        self, submission: Submission, body: bytes, content_type: str, proof: AuthenticityResult
    ) -> DecodedSubmission:
        return build_envelope(
            submission,
            body,
            body_type=content_type,
            connector=self.name,
            received_at=self._ports.now(),
            authenticity=proof,
        )


def _submission_id_of(body: bytes) -> str | None:
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        return None
    submission_id = wanted.get("submission_id") if isinstance(wanted, dict) else None
    return submission_id if isinstance(submission_id, str) and is_submission_id(submission_id) else None
