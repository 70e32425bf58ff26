"""Files over REST: an appeal's attachments and originals out, an agent's uploads in. All are a stranger's bytes."""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import chain
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from agent_console.access import check_may_see, oversees
from agent_console.appeal_api import NUMBER
from agent_console.deps import ConsoleDeps
from agent_console.endpoint import Endpoint, Parameter, json_response
from agent_console.problems import BROKEN_BODY, ProblemError
from agent_console.session import SessionKeeper
from agent_console.uploads import OCTET_STREAM, TEXT, UploadShelf, clean_name
from agent_console.views import UploadView
from appeals.agent import Agent
from appeals.conversation import Conversation
from appeals.envelope import AppealEnvelope, Attachment
from appeals.findings import INFECTED, is_risky
from appeals.registry import Registry

SHOWN_IN_PLACE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", TEXT}
)  # what browsers show without running anything of it
FORM_ROOM_BYTES = 64 * 1024  # boundaries and headers of a form around the file

_BROKEN_FORM = (ValueError, AssertionError, RuntimeError, *BROKEN_BODY)  # how aiohttp's reader tells of one

GUARD: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"
PDF_POLICY = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"  # browsers show no PDF in a sandbox


def content_disposition(name: str, *, inline: bool) -> str:
    """Return the header's value (RFC 6266): an ASCII name for old readers and the real one in UTF-8 (RFC 8187)."""
    kind = "inline" if inline else "attachment"
    plain = "".join(letter if " " <= letter <= "~" and letter not in '"\\%' else "_" for letter in name)
    return f"{kind}; filename=\"{plain or 'file'}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_response(content: bytes, *, name: str, media_type: str, inline: bool) -> web.Response:
    """Return a stranger's file so that it can do no harm: never run, never sniffed, shown in place only if safe."""
    shown = inline and media_type in SHOWN_IN_PLACE and not (media_type == TEXT and not _is_utf8(content))
    headers = {
        **GUARD,
        "Content-Disposition": content_disposition(name, inline=shown),
        "Content-Security-Policy": PDF_POLICY if shown and media_type == "application/pdf" else SANDBOX,
    }
    sent_type = media_type if shown else OCTET_STREAM
    charset = "utf-8" if shown and media_type == TEXT else None
    return web.Response(body=content, content_type=sent_type, charset=charset, headers=headers)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


SHA256 = Parameter(
    name="sha256",
    place="path",
    description="The blob's hash",
    schema={"type": "string", "pattern": "^[0-9a-f]{64}$"},
)
ENVELOPE_ID = Parameter(
    name="envelope_id", place="path", description="The envelope's id", schema={"type": "string", "format": "uuid"}
)


class FileApi:
    """Attachments, originals and uploads."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper, shelf: UploadShelf) -> None:
        self._registry = deps.registry
        self._settings = deps.settings
        self._sessions = sessions
        self._shelf = shelf

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        download = Parameter(name="download", description="1: never show it in place", schema={"type": "string"})
        accept_risk = Parameter(
            name="accept_risk", description="1: a supervisor wants an infected file", schema={"type": "string"}
        )
        return [
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/blobs/{sha256}",
                handler=self.blob,
                summary="An attachment of the appeal",
                sends_bytes=True,
                parameters=(NUMBER, SHA256, download, accept_risk),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/raw/{envelope_id}",
                handler=self.raw,
                summary="The original bytes of a message",
                sends_bytes=True,
                parameters=(NUMBER, ENVELOPE_ID),
            ),
            Endpoint(
                method="POST",
                path="/api/v1/uploads",
                handler=self.upload,
                summary="Upload a file for a reply",
                uploads=True,
                answer=UploadView,
                status=HTTPStatus.CREATED,
            ),
        ]

    async def blob(self, request: web.Request) -> web.Response:
        """Answer an attachment of an envelope or a reply of this appeal, and of no other."""
        agent, conversation = await visible_conversation(request, self._sessions, self._registry)
        attachment = find_attachment(conversation, request.match_info["sha256"])
        if _is_infected(attachment) and not (oversees(agent) and "accept_risk" in request.query):
            raise ProblemError(HTTPStatus.FORBIDDEN, "infected", detail=attachment.name)
        content = await self._registry.read_blob(attachment.sha256)
        return file_response(
            content,
            name=attachment.name or "attachment",
            media_type=attachment.detected_media_type,
            inline="download" not in request.query and not is_risky(attachment.findings),
        )

    async def raw(self, request: web.Request) -> web.Response:
        """Answer the bytes as they came in."""
        _, conversation = await visible_conversation(request, self._sessions, self._registry)
        envelope = find_envelope(conversation, request.match_info["envelope_id"])
        content = await self._registry.read_blob(envelope.raw.sha256)
        suffix = "eml" if envelope.raw.media_type == "message/rfc822" else "bin"
        name = f"{conversation.appeal.number}-{envelope.id}.{suffix}"
        return file_response(content, name=name, media_type=envelope.raw.media_type, inline=False)

    async def upload(self, request: web.Request) -> web.Response:
        """Take one file in for a reply."""
        session = await self._sessions.require(request)
        name, content = await self._read_file(request)
        record = await self._shelf.put(content, agent_id=session.agent.id, name=clean_name(name))
        view = UploadView(
            id=record.id,
            name=record.name,
            media_type=record.media_type,
            size_bytes=record.size_bytes,
            expires_at=record.expires_at,
        )
        return json_response(view, status=HTTPStatus.CREATED)

    async def _read_file(self, request: web.Request) -> tuple[str, bytes]:
        if request.content_type != "multipart/form-data":
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail="send multipart/form-data"
            )
        if (request.content_length or 0) > self._settings.max_upload_bytes + FORM_ROOM_BYTES:
            raise self._too_large()
        try:
            form = await request.multipart()
            part = await form.next()
            if not isinstance(part, BodyPartReader) or part.name != "file":
                raise _malformed()
            content = await self._read_part(part)
            if await form.next() is not None:  # also raises if the form was cut off within the file
                raise _malformed()
        except _BROKEN_FORM as error:
            raise _malformed() from error
        return part.filename or "attachment", content

    async def _read_part(self, part: BodyPartReader) -> bytes:
        content = bytearray()
        while chunk := await part.read_chunk():
            content += chunk
            if len(content) > self._settings.max_upload_bytes:
                raise self._too_large()
        return bytes(content)

    def _too_large(self) -> ProblemError:
        limit = self._settings.max_upload_bytes
        return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail=f"at most {limit} bytes")


def _malformed() -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, "invalid_request", detail="one part named file is wanted")


def _is_infected(attachment: Attachment) -> bool:
    return any(finding.partition(":")[0] == INFECTED for finding in attachment.findings)


async def visible_conversation(
    request: web.Request, sessions: SessionKeeper, registry: Registry
) -> tuple[Agent, Conversation]:
    """Return who asks and the appeal in the path; raises ProblemError unless they may see it."""
    session = await sessions.require(request)
    appeal = await registry.appeal_by_number(request.match_info["number"])
    check_may_see(session.agent, appeal)
    return session.agent, await registry.conversation(appeal.id)


def find_envelope(conversation: Conversation, envelope_id: str) -> AppealEnvelope:
    """Return the message with that id; raises ProblemError 404 if this appeal has none."""
    for envelope in conversation.envelopes:
        if str(envelope.id) == envelope_id.lower():
            return envelope
    raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such envelope in this appeal")


def find_attachment(conversation: Conversation, sha256: str) -> Attachment:
    """Return the attachment with that hash; raises ProblemError 404 if this appeal has none."""
    received = (attachment for envelope in conversation.envelopes for attachment in envelope.attachments)
    sent = (attachment for reply in conversation.replies for attachment in reply.attachments)
    for attachment in chain(received, sent):
        if attachment.sha256 == sha256:
            return attachment
    raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such attachment in this appeal")
