"""Registers a group of envelopes inside one transaction: de-duplicates, threads, finds citizens, opens appeals."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.acknowledgement_reply import acknowledgement_reply
from appeals.answer_route import ADDITION, answer_to
from appeals.appeal import CHOSEN_TOPIC, UNTAGGED, Appeal, AppealState, check_transition
from appeals.appeal_rows import write_changed
from appeals.bulk_rows import insert_rows
from appeals.deadlines import answer_deadline
from appeals.envelope import AppealEnvelope, Channel
from appeals.errors import PermanentError
from appeals.event_chain import Event
from appeals.intake_policy import IntakePolicy
from appeals.letter import BY_HAND
from appeals.notify import Changes, appeal_changed
from appeals.numbering import new_number, secret_code
from appeals.registration import Registration
from appeals.registry import Transaction
from appeals.rows import contact_key, dedup_key, reply_row, to_appeal
from appeals.thread_search import find_threads
from appeals.threading import ThreadIndex, ThreadMatch, inbound_key, match_thread, outbound_key
from appeals.transcript import TranscriptSource, TranscriptState
from config.settings import DeadlineSettings

LOOP_WINDOW = timedelta(hours=1)
MAX_FIRST_WORDS_CHARS = 80


@dataclass(kw_only=True, slots=True)
class _Draft:
    """An appeal as this transaction changes it. `base_version` 0: opened here."""

    appeal: Appeal
    base_version: int
    conversation: str | None = None


class RegistrationGroup:
    """One use: `register` once, inside `transaction`; then read `changes` after the commit."""

    def __init__(self, transaction: Transaction, policy: IntakePolicy) -> None:
        self.changes = Changes()
        self._transaction = transaction
        self._connection = transaction.connection
        self._now = transaction.now
        self._policy = policy
        self._known: dict[str, Registration] = {}
        self._citizens: dict[str, UUID] = {}  # by contact key
        self._recent: Counter[UUID] = Counter()  # appeals that a citizen opened within LOOP_WINDOW
        self._drafts: dict[UUID, _Draft] = {}
        self._settled: set[UUID] = set()  # closed for so long that a person's message opens a new one
        self._index = ThreadIndex(by_envelope={}, by_key={}, by_number={}, by_conversation={}, appeals={})
        self._rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("citizens", "contact_points", "envelopes", "transcripts", "thread_keys", "replies")
        }

    async def register(self, envelopes: Sequence[AppealEnvelope]) -> list[Registration]:
        """Write everything the envelopes bring; one registration each, in order."""
        await self._read_known(envelopes)
        fresh = [item for item in envelopes if dedup_key(item.connector, item.external_id) not in self._known]
        await self._read_citizens(fresh)
        await self._read_threads(fresh)
        numbers = await self._free_numbers(len(fresh))
        registrations = [self._register(envelope, numbers) for envelope in envelopes]
        await self._write()
        return registrations

    async def open_for(self, envelope: AppealEnvelope) -> Appeal:
        """Open an appeal for a message that the registry holds already, and tell the citizen its number."""
        await self._read_citizens([envelope])
        (number,) = await self._free_numbers(1)
        citizen_id = self._citizens.get(contact_key(envelope.sender)) if envelope.sender else None
        draft = self._open(envelope, citizen_id or self._new_citizen(envelope), number=number)
        await self._write()
        return draft.appeal

    # ---- what the registry knows
    async def _read_known(self, envelopes: Sequence[AppealEnvelope]) -> None:
        keys = [dedup_key(item.connector, item.external_id) for item in envelopes]
        column = tables.envelopes.c
        query = (
            select(column.dedup_key, column.id, column.appeal_id, tables.appeals.c.number)
            .join(tables.appeals, tables.appeals.c.id == column.appeal_id)
            .where(column.dedup_key.in_(keys))
        )
        for row in await self._connection.execute(query):
            self._known[row.dedup_key] = self._registration(row.appeal_id, row.number, row.id, duplicate=True)

    async def _read_citizens(self, envelopes: Iterable[AppealEnvelope]) -> None:
        keys = {contact_key(item.sender) for item in envelopes if item.sender is not None}
        column = tables.contact_points.c
        query = select(column.key, column.citizen_id).where(column.key.in_(keys))
        if keys:
            self._citizens = {row.key: row.citizen_id for row in await self._connection.execute(query)}
        if self._citizens:
            self._recent.update(await self._count_recent(set(self._citizens.values())))

    async def _count_recent(self, citizens: Collection[UUID]) -> Mapping[UUID, int]:
        """Return how many appeals each of the citizens opened within the last hour."""
        column = tables.appeals.c
        query = (
            select(column.citizen_id, func.count().label("opened"))
            .where(column.citizen_id.in_(citizens), column.registered_at > self._now - LOOP_WINDOW)
            .group_by(column.citizen_id)
        )
        return {row.citizen_id: row.opened for row in await self._connection.execute(query)}

    async def _read_threads(self, envelopes: Sequence[AppealEnvelope]) -> None:
        found = await find_threads(self._connection, envelopes, secret_key=self._policy.secret_key)
        by_number: dict[str, UUID] = {}
        for row in found.rows:
            appeal = to_appeal(row)
            draft = _Draft(appeal=appeal, base_version=appeal.version, conversation=row.conversation)
            self._drafts[appeal.id] = draft
            by_number[appeal.number] = appeal.id
            if not self._may_reopen(appeal):
                self._settled.add(appeal.id)

        def joinable(ids: Mapping[str, UUID]) -> dict[str, UUID]:
            return {key: value for key, value in ids.items() if value in self._drafts}

        self._index = ThreadIndex(
            by_envelope=joinable(found.by_envelope),
            by_key=joinable(found.by_key),
            by_number=by_number,
            by_conversation=joinable(found.by_conversation),
            appeals={key: draft.appeal for key, draft in self._drafts.items()},
        )

    def _may_reopen(self, appeal: Appeal) -> bool:
        if appeal.state is not AppealState.CLOSED or appeal.closed_at is None:
            return True
        return self._now - appeal.closed_at <= self._policy.reopen_within

    async def _free_numbers(self, count: int) -> list[str]:
        """Return `count` numbers that no appeal has. The unique constraint has the last word."""
        numbers: set[str] = set()
        while len(numbers) < count:
            fresh = {new_number() for _ in range(count - len(numbers))}
            column = tables.appeals.c.number
            taken = (await self._connection.execute(select(column).where(column.in_(fresh)))).scalars().all()
            numbers |= fresh - set(taken)
        return list(numbers)

    # ---- one envelope
    def _register(self, envelope: AppealEnvelope, numbers: list[str]) -> Registration:
        key = dedup_key(envelope.connector, envelope.external_id)
        if known := self._known.get(key):
            return known
        citizen_id = self._citizens.get(contact_key(envelope.sender)) if envelope.sender else None
        # A machine's mail reopens nothing, so it may join what a person's no longer may: a receipt that comes late.
        index = self._index if envelope.automatic or not self._settled else self._index.without(self._settled)
        match = match_thread(envelope, index, citizen_id=citizen_id, secret_key=self._policy.secret_key)
        if envelope.withdrawn and (match is None or match.reason != "revision"):
            raise PermanentError("it withdraws a message that is not here")
        if match:
            draft = self._drafts[match.appeal_id]
            self._join(draft, envelope, match)
        else:
            draft = self._open(envelope, citizen_id or self._new_citizen(envelope), number=numbers.pop())
        self._keep_envelope(envelope, draft.appeal.id, key=key)
        registration = self._registration(
            draft.appeal.id, draft.appeal.number, envelope.id, duplicate=False, joined=match is not None
        )
        self._known[key] = replace(registration, duplicate=True)
        return registration

    def _new_citizen(self, envelope: AppealEnvelope) -> UUID | None:
        if envelope.sender is None:
            return None
        citizen_id, key = uuid7(), contact_key(envelope.sender)
        language = envelope.language or "und"
        row = {"name": envelope.sender.name, "language": language, "segments": [], "created_at": self._now}
        self._rows["citizens"].append({"id": citizen_id, **row})
        self._rows["contact_points"].append(
            {"key": key, "citizen_id": citizen_id, "name": envelope.sender.name, "created_at": self._now}
        )
        self._citizens[key] = citizen_id
        return citizen_id

    def _open(self, envelope: AppealEnvelope, citizen_id: UUID | None, *, number: str) -> _Draft:
        office, deadlines = self._policy.office, self._policy.deadlines
        deadline = answer_deadline(
            _counted_from(envelope, registered_at=self._now, deadlines=deadlines),
            days=deadlines.answer_days,
            timezone=office.timezone,
            region=office.region,
        )
        region = envelope.location.region if envelope.location and envelope.location.region else office.region
        appeal = Appeal(
            id=uuid7(),
            number=number,
            version=1,
            state=AppealState.REGISTERED,
            citizen_id=citizen_id,
            channel=envelope.channel,
            connector=envelope.connector,
            subject=envelope.subject or first_words(envelope.clean_text or envelope.text),
            language=envelope.language or "und",
            region=region,
            topic=None,
            topic_confidence=None,
            priority=0,
            queue=None,
            agent_id=None,
            rule_set=None,
            received_at=envelope.received_at,
            registered_at=self._now,
            waiting_since=envelope.received_at,
            changed_at=self._now,
            deadline_at=deadline.due_at,
            answered_at=None,
            closed_at=None,
            attributes={**envelope.fields, "automatic": "true"} if envelope.automatic else dict(envelope.fields),
        )
        draft = _Draft(appeal=appeal, base_version=0, conversation=envelope.threading.conversation)
        self._drafts[appeal.id] = draft
        self._index_draft(draft)
        data = {"number": number, "channel": envelope.channel.value, "deadline": deadline.reason}
        self._note("appeal.registered", draft, envelope, data)
        if not envelope.recognise:  # else its words come first
            self.changes.classify.append(appeal.id)
        self._acknowledge(draft, envelope)
        return draft

    def _join(self, draft: _Draft, envelope: AppealEnvelope, match: ThreadMatch) -> None:
        """Add the message to an appeal there is; a person's word brings an answered or closed one back."""
        appeal = draft.appeal
        state = appeal.state
        changes: dict[str, Any] = {"version": appeal.version + 1}
        if envelope.fields:
            changes["attributes"] = {**appeal.attributes, **envelope.fields}
        if not envelope.automatic and ADDITION not in envelope.marks:
            changes |= {"channel": envelope.channel, "connector": envelope.connector}
        if not envelope.automatic:
            if state is AppealState.ANSWERED and appeal.agent_id is not None:
                state = AppealState.ASSIGNED
            elif state in (AppealState.ANSWERED, AppealState.CLOSED):
                state = AppealState.WAITING
                changes |= {"waiting_since": envelope.received_at, "closed_at": None}
        if CHOSEN_TOPIC in envelope.fields and state is AppealState.WAITING:
            changes |= UNTAGGED
            state = AppealState.REGISTERED
            self.changes.classify.append(appeal.id)
        if state is not appeal.state:
            check_transition(appeal.state, state)
            changes |= {"state": state, "changed_at": self._now}
        draft.appeal = replace(appeal, **changes)
        self._index_draft(draft)
        data = {"because": match.reason, "from_state": appeal.state.value, "state": state.value}
        self._note("envelope.joined", draft, envelope, data)
        self._tell(draft.appeal)

    def _tell(self, appeal: Appeal) -> None:
        if appeal.state in (AppealState.REGISTERED, AppealState.WAITING, AppealState.ASSIGNED):
            self.changes.route_appeals.append(appeal.id)
        if appeal.agent_id and appeal.state in (AppealState.ASSIGNED, AppealState.ANSWERED, AppealState.OFFERED):
            self.changes.agent_messages.append((appeal.agent_id, appeal_changed(appeal)))

    def _index_draft(self, draft: _Draft) -> None:
        """Later messages of the same group find what this one made."""
        appeal = draft.appeal
        self._index.by_number[appeal.number] = appeal.id
        self._index.appeals[appeal.id] = appeal
        if draft.conversation:
            self._index.by_conversation[draft.conversation] = appeal.id

    def _keep_envelope(self, envelope: AppealEnvelope, appeal_id: UUID, *, key: str) -> None:
        row = {
            "id": envelope.id,
            "dedup_key": key,
            "appeal_id": appeal_id,
            "received_at": envelope.received_at,
            "raw_sha256": envelope.raw.sha256,
            "has_attachments": bool(envelope.attachments),
            "automatic": envelope.automatic,
            "document": envelope.model_dump_json(by_alias=True),
        }
        self._rows["envelopes"].append(row)
        self._index.by_envelope[key] = appeal_id
        if envelope.recognise:
            self._await_transcript(envelope, appeal_id)
        if envelope.threading.message_id:
            thread_key = inbound_key(envelope.threading.message_id)[:1024]
            self._rows["thread_keys"].append({"key": thread_key, "appeal_id": appeal_id})

    def _await_transcript(self, envelope: AppealEnvelope, appeal_id: UUID) -> None:
        row = {"envelope_id": envelope.id, "appeal_id": appeal_id, "state": TranscriptState.PENDING.value}
        row |= {"source": TranscriptSource.NOBODY.value, "text": "", "confidence": None, "detail": ""}
        self._rows["transcripts"].append({**row, "agent_id": None, "changed_at": self._now})
        self.changes.recognise.append(envelope.id)

    def _acknowledge(self, draft: _Draft, envelope: AppealEnvelope) -> None:
        """Queue the number for the citizen: once per appeal, never to a machine, and not round and round."""
        if envelope.automatic or envelope.sender is None or not self._policy.acknowledge:
            return
        if self._is_loop(draft.appeal):
            self._note("acknowledgement.withheld", draft, envelope, {"because": "too many appeals within an hour"})
            return
        recipient = answer_to(envelope, envelope.sender)
        reply = acknowledgement_reply(draft.appeal, envelope, self._policy, recipient=recipient, now=self._now)
        self._rows["replies"].append(reply_row(reply))
        self._rows["thread_keys"].append({"key": outbound_key(reply.message_id), "appeal_id": draft.appeal.id})
        self.changes.deliver.append(reply.id)

    def _is_loop(self, appeal: Appeal) -> bool:
        """Tell whether the citizen has opened so many appeals lately that a machine may be answering our answers."""
        if appeal.citizen_id is None:
            return False
        self._recent[appeal.citizen_id] += 1
        return self._recent[appeal.citizen_id] > self._policy.max_acknowledgements_per_hour

    def _note(self, kind: str, draft: _Draft, envelope: AppealEnvelope, data: dict[str, Any]) -> None:
        data |= {"envelope_id": str(envelope.id), "connector": envelope.connector, "raw_sha256": envelope.raw.sha256}
        appeal = draft.appeal
        self._transaction.events.append(
            Event(kind=kind, actor="citizen", appeal_id=appeal.id, appeal_version=appeal.version, data=data)
        )

    def _registration(
        self, appeal_id: UUID, number: str, envelope_id: UUID, *, duplicate: bool, joined: bool = False
    ) -> Registration:
        return Registration(
            appeal_id=appeal_id,
            number=number,
            secret_code=secret_code(self._policy.secret_key, appeal_id),
            envelope_id=envelope_id,
            duplicate=duplicate,
            joined=joined,
        )

    # ---- writing
    async def _write(self) -> None:
        changed = [draft for draft in self._drafts.values() if draft.appeal.version != draft.base_version]
        opened = [_appeal_row(draft) for draft in changed if draft.base_version == 0]
        inserts = (
            (tables.citizens, self._rows["citizens"]),
            (tables.contact_points, self._rows["contact_points"]),
            (tables.appeals, opened),
            (tables.envelopes, self._rows["envelopes"]),
            (tables.transcripts, self._rows["transcripts"]),
            (tables.replies, self._rows["replies"]),
        )
        for table, rows in inserts:
            await insert_rows(self._connection, table, rows)
        await insert_rows(self._connection, tables.thread_keys, self._rows["thread_keys"], ignore_known=True)
        joined = [draft for draft in changed if draft.base_version]
        if joined:
            await write_changed(self._connection, [(draft.appeal, draft.base_version) for draft in joined])


def _counted_from(envelope: AppealEnvelope, *, registered_at: datetime, deadlines: DeadlineSettings) -> datetime:
    """Return from when the time for the answer runs (59-FZ art. 8 and 12): registration, or when it was due by law.

    What lay in the office or in a kiosk counts from its receipt: the citizen must not wait for our delay, too.
    """
    if envelope.channel in BY_HAND or envelope.channel is Channel.KIOSK:
        return min(envelope.received_at, registered_at)
    return min(registered_at, envelope.received_at + timedelta(days=deadlines.registration_days))


def first_words(text: str) -> str:
    """Return what stands for a subject where the channel has none: lists and offers need something to tell."""
    words = " ".join(text[: 4 * MAX_FIRST_WORDS_CHARS].split())
    return words if len(words) <= MAX_FIRST_WORDS_CHARS else words[: MAX_FIRST_WORDS_CHARS - 1].rstrip() + "…"


def _appeal_row(draft: _Draft) -> dict[str, Any]:
    appeal = draft.appeal
    row = {name: getattr(appeal, name) for name in Appeal.__dataclass_fields__}
    return {
        **row,
        "state": appeal.state.value,
        "channel": appeal.channel.value,
        "conversation": draft.conversation,
    }
