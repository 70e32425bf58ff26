"""`/api/v1/letters`: agents register letters and visits, and print slips and answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from typing import Literal

from aiohttp import BodyPartReader, web
from pydantic import Field, ValidationError

from agent_console.access import check_may_see, oversees
from agent_console.appeal_api import NUMBER
from agent_console.deps import ConsoleDeps
from agent_console.endpoint import Endpoint, Parameter, fault_summary, json_response
from agent_console.file_api import FORM_ROOM_BYTES, file_response
from agent_console.letters import LetterDesk
from agent_console.problems import BROKEN_BODY, ProblemError
from agent_console.session import SessionKeeper
from agent_console.views import NO_NUL, View
from appeals.agent import Agent
from appeals.appeal import Appeal
from appeals.envelope import Channel, ContactPointKind, UtcDatetime
from appeals.letter import AnswerBy, Letter, LetterRefusedError, LetterScan
from appeals.numbering import secret_code
from appeals.reply import Reply, ReplyKind

MAX_LETTER_BYTES = 1024 * 1024  # what was typed; a whole letter at 200,000 characters fits
SLIP_FOR = timedelta(days=1)  # the visitor is at the counter; afterwards supervisors alone may print it
PDF = "application/pdf"

_BROKEN_FORM = (ValueError, AssertionError, RuntimeError, *BROKEN_BODY)  # how aiohttp's reader tells of one


class LetterRequest(View):
    """Part `letter` of `POST /api/v1/letters`: what the agent typed in."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")  # drawn by the client: the same for every try of one letter
    channel: Literal["paper", "in_person"]
    received_on: date  # office's local day
    name: str = Field(max_length=1000, pattern=NO_NUL)
    answer_by: AnswerBy
    incoming_number: str = Field(default="", max_length=1000, pattern=NO_NUL)  # the office's own
    address: str = Field(default="", max_length=1000, pattern=NO_NUL)  # postal
    email: str = Field(default="", max_length=1000, pattern=NO_NUL)
    phone: str = Field(default="", max_length=1000, pattern=NO_NUL)
    subject: str = Field(default="", max_length=1000, pattern=NO_NUL)
    text: str = Field(default="", max_length=200_000, pattern=NO_NUL)
    language: Literal["ru", "en"] = "ru"


class LetterView(View):
    """A letter that is registered."""

    number: str
    duplicate: bool  # it was registered before
    joined: bool  # it was added to an appeal there was: an earlier try of the same letter, changed since
    received_at: UtcDatetime
    deadline_at: UtcDatetime


class LetterDeskView(View):
    """What a letter may have."""

    today: date  # office's local day
    oldest: date  # no letter may have been received before
    max_scans: int
    max_scan_bytes: int
    max_total_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """The parts of a posted letter."""

    request: LetterRequest
    scans: tuple[LetterScan, ...]


class LetterApi:
    """Letters and visits over REST. Without a desk (`paper.enabled: false`) every path answers 404."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper) -> None:
        self._deps = deps
        self._sessions = sessions

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        reply_id = Parameter(
            name="reply_id", place="path", description="The reply's id", schema={"type": "string", "format": "uuid"}
        )
        return [
            Endpoint(
                method="GET",
                path="/api/v1/letters/desk",
                handler=self.desk,
                summary="Whether letters are registered here, and what they may have",
                answer=LetterDeskView,
            ),
            Endpoint(
                method="POST",
                path="/api/v1/letters",
                handler=self.register,
                summary="Register a letter or a visit: part letter (JSON), then parts scan (files)",
                uploads=True,
                answer=LetterView,
                status=HTTPStatus.CREATED,
            ),
            Endpoint(
                method="GET",
                path="/api/v1/letters/{number}/slip.pdf",
                handler=self.slip,
                summary="The slip for the visitor: number, secret code, deadline",
                sends_bytes=True,
                parameters=(NUMBER,),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/replies/{reply_id}/letter.pdf",
                handler=self.letter,
                summary="A reply as a letter to print",
                sends_bytes=True,
                parameters=(NUMBER, reply_id),
            ),
        ]

    async def desk(self, request: web.Request) -> web.Response:
        """Answer the limits."""
        await self._sessions.require(request)
        desk = self._desk()
        view = LetterDeskView(
            today=desk.today,
            oldest=desk.today - timedelta(days=desk.settings.max_days_back),
            max_scans=desk.settings.max_scans,
            max_scan_bytes=desk.settings.max_scan_bytes,
            max_total_bytes=desk.settings.max_total_bytes,
        )
        return json_response(view)

    async def register(self, request: web.Request) -> web.Response:
        """Take a letter in; answers once it is committed, with 201, or 200 for one that was registered before."""
        session = await self._sessions.require(request)
        desk = self._desk()
        form = await self._read_form(request, desk)
        try:
            registration = await desk.register(_letter(form, session.agent))
        except LetterRefusedError as error:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, detail=error.detail) from error
        appeal = await self._deps.registry.appeal(registration.appeal_id)
        view = LetterView(
            number=appeal.number,
            duplicate=registration.duplicate,
            joined=registration.joined,
            received_at=appeal.received_at,
            deadline_at=appeal.deadline_at,
        )
        return json_response(view, status=HTTPStatus.OK if registration.duplicate else HTTPStatus.CREATED)

    async def slip(self, request: web.Request) -> web.Response:
        """Answer the slip, to the agent who registered the letter within a day and to supervisors."""
        session = await self._sessions.require(request)
        desk = self._desk()
        appeal = await self._deps.registry.appeal_by_number(request.match_info["number"])
        if not self._may_print_slip(session.agent, appeal):
            raise ProblemError(HTTPStatus.FORBIDDEN, "forbidden", detail="the slip holds the citizen's secret code")
        content = await desk.slip(appeal, secret_code=secret_code(self._deps.secret_key, appeal.id))
        return file_response(content, name=f"{appeal.number}.pdf", media_type=PDF, inline=True)

    async def letter(self, request: web.Request) -> web.Response:
        """Answer a reply as a letter. An acknowledgement holds the secret code: only if it goes by post."""
        session = await self._sessions.require(request)
        desk = self._desk()
        appeal = await self._deps.registry.appeal_by_number(request.match_info["number"])
        check_may_see(session.agent, appeal)
        conversation = await self._deps.registry.conversation(appeal.id)
        wanted = request.match_info["reply_id"].lower()
        reply = next((one for one in conversation.replies if str(one.id) == wanted), None)
        if reply is None or not _may_be_printed(reply):
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such reply to print in this appeal")
        content = await desk.letter(appeal, reply)
        return file_response(content, name=f"{appeal.number}-{reply.kind}.pdf", media_type=PDF, inline=True)

    def _desk(self) -> LetterDesk:
        if self._deps.letters is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="paper.enabled is false")
        return self._deps.letters

    def _may_print_slip(self, agent: Agent, appeal: Appeal) -> bool:
        if appeal.attributes.get("registered_by") is None:
            return False  # came by another channel: the code went to the citizen
        fresh = self._deps.now() - appeal.registered_at <= SLIP_FOR
        return oversees(agent) or (fresh and appeal.attributes["registered_by"] == agent.id)

    async def _read_form(self, request: web.Request, desk: LetterDesk) -> _Form:
        if request.content_type != "multipart/form-data":
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail="send multipart/form-data"
            )
        room = desk.settings.max_total_bytes + MAX_LETTER_BYTES + FORM_ROOM_BYTES
        if (request.content_length or 0) > room:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail=f"at most {room} bytes")
        wanted: LetterRequest | None = None
        scans: list[LetterScan] = []
        try:
            async for part in _parts(request):
                if part.name == "letter" and wanted is None:
                    wanted = _read_letter(await _read_part(part, MAX_LETTER_BYTES))
                elif part.name == "scan" and wanted is not None and len(scans) < desk.settings.max_scans:
                    content = await _read_part(part, desk.settings.max_scan_bytes)
                    media_type = part.headers.get("Content-Type", "")
                    scans.append(LetterScan(name=part.filename or "scan", media_type=media_type, content=content))
                else:
                    raise _malformed()
                if sum(len(scan.content) for scan in scans) > desk.settings.max_total_bytes:
                    raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "letter_scan_too_large")
        except _BROKEN_FORM as error:
            raise _malformed() from error
        if wanted is None:
            raise _malformed()
        return _Form(request=wanted, scans=tuple(scans))


async def _parts(request: web.Request) -> AsyncIterator[BodyPartReader]:
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise _malformed()
        yield part


async def _read_part(part: BodyPartReader, max_bytes: int) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk():
        content += chunk
        if len(content) > max_bytes:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "letter_scan_too_large")
    return bytes(content)


def _read_letter(content: bytes) -> LetterRequest:
    try:
        return LetterRequest.model_validate_json(content)
    except ValidationError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "letter_incomplete", detail=fault_summary(error)) from error


def _letter(form: _Form, agent: Agent) -> Letter:
    request = form.request
    return Letter(
        id=request.id,
        channel=Channel.PAPER if request.channel == "paper" else Channel.IN_PERSON,
        registered_by=agent.id,
        received_on=request.received_on,
        name=request.name,
        answer_by=request.answer_by,
        incoming_number=request.incoming_number,
        address=request.address,
        email=request.email,
        phone=request.phone,
        subject=request.subject,
        text=request.text,
        language=request.language,
        scans=form.scans,
    )


def _may_be_printed(reply: Reply) -> bool:
    return reply.kind is not ReplyKind.ACKNOWLEDGEMENT or reply.recipient.kind is ContactPointKind.POST


def _malformed() -> ProblemError:
    return ProblemError(
        HTTPStatus.BAD_REQUEST, "invalid_request", detail="one part letter (JSON) is wanted, then parts scan (files)"
    )
