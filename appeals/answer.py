"""An agent's answer: to whom, under which subject, behind which messages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert, select
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.answer_route import ADDITION, AnswerRoutes, answer_to
from appeals.appeal import Appeal
from appeals.blob_rows import keep_blobs
from appeals.envelope import AppealEnvelope, Attachment, Channel, ContactPoint
from appeals.errors import PermanentError
from appeals.registry import Transaction
from appeals.reply import Reply, ReplyKind
from appeals.rows import reply_row
from appeals.threading import outbound_key

ABOUT_OUR_MAIL = frozenset({"bounce", "delivery_report", "read_receipt", "own_mail"})  # marks: nobody to answer there


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedFile:
    """A file an agent sends along."""

    name: str
    media_type: str  # detected from the content
    content: bytes

    @property
    def sha256(self) -> str:
        """The name of its blob."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerTarget:
    """To whom an answer goes, and how."""

    recipient: ContactPoint
    channel: Channel
    connector: str


def answer_target(envelopes: Sequence[AppealEnvelope], routes: AnswerRoutes) -> AnswerTarget | None:
    """Return where an answer goes: to whoever wrote last and is no machine; None if nobody left an address.

    An appeal that only machines wrote to may still be a citizen's: forms of other systems come so, with the citizen's
    address in Reply-To. A person may answer those. What was added on the citizen's page does not count, unless there is
    nothing else: it says nothing of where to.
    """
    additions = [envelope for envelope in envelopes if ADDITION in envelope.marks]
    letters = [envelope for envelope in envelopes if ADDITION not in envelope.marks]
    persons = [item for item in (*reversed(letters), *reversed(additions)) if not item.automatic]
    machines = [item for item in reversed(letters) if item.automatic and not ABOUT_OUR_MAIL.intersection(item.marks)]
    for envelope in (*persons, *machines):
        if envelope.sender is not None:
            recipient = answer_to(envelope, envelope.sender)
            channel, connector = routes.to(recipient, envelope)
            return AnswerTarget(recipient=recipient, channel=channel, connector=connector)
    return None


async def compose_answer(
    transaction: Transaction,
    appeal: Appeal,
    *,
    agent_id: str,
    text: str,
    attachments: Sequence[UploadedFile],
    domain: str,
    routes: AnswerRoutes,
) -> Reply:
    """Return the reply to queue: to whoever wrote last, by the channel they wrote on. Raises PermanentError."""
    envelopes = await _envelopes(transaction, appeal.id)
    target = answer_target(envelopes, routes)
    if target is None:
        raise PermanentError(f"appeal {appeal.number} has no contact point to answer to")
    reply_id = uuid7()
    return Reply(
        id=reply_id,
        appeal_id=appeal.id,
        kind=ReplyKind.ANSWER,
        agent_id=agent_id,
        channel=target.channel,
        connector=target.connector,
        recipient=target.recipient,
        subject=f"Re: {appeal.subject} [{appeal.number}]" if appeal.subject else f"[{appeal.number}]",
        text=text,
        language=appeal.language,
        attachments=tuple(_described(item) for item in attachments),
        in_reply_to=tuple(item.threading.message_id for item in envelopes if item.threading.message_id),
        message_id=f"{reply_id.hex}@{domain}",
        next_attempt_at=transaction.now,
        created_at=transaction.now,
    )


async def keep_answer(
    transaction: Transaction, reply: Reply, contents: Mapping[str, bytes], *, inline_max_bytes: int
) -> None:
    """Write the reply, its attachments, and the key by which the citizen's next message finds its appeal."""
    connection = transaction.connection
    await keep_blobs(connection, [contents], inline_max_bytes=inline_max_bytes)
    await connection.execute(insert(tables.replies), reply_row(reply))
    key = {"key": outbound_key(reply.message_id), "appeal_id": reply.appeal_id}
    await connection.execute(insert(tables.thread_keys), key)


async def _envelopes(transaction: Transaction, appeal_id: UUID) -> list[AppealEnvelope]:
    column = tables.envelopes.c
    query = select(column.document).where(column.appeal_id == appeal_id).order_by(column.received_at, column.id)
    documents = (await transaction.connection.execute(query)).scalars()
    return [AppealEnvelope.model_validate_json(document) for document in documents]


def _described(item: UploadedFile) -> Attachment:
    return Attachment(
        name=item.name,
        declared_media_type=item.media_type,
        detected_media_type=item.media_type,
        sha256=item.sha256,
        size_bytes=len(item.content),
    )
