"""Which appeal a message belongs to: an ordered policy, each step with its reason.

0. An edit, or a withdrawal, belongs where the message it is about is.
1. A reply token that we signed: whoever holds it was written to by us.
2. In-Reply-To or References of a message that we sent; or of an earlier message of the same citizen.
3. The appeal's number in the text, if the sender is a contact point of that appeal's citizen: B can never write into
   A's appeal by quoting its number. Where DMARC says that the address in From is forged, neither this nor an earlier
   message counts: the sender may be anybody.
4. The running talk on channels without message ids.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from appeals.appeal import Appeal
from appeals.envelope import AppealEnvelope
from appeals.numbering import read_reply_token
from appeals.rows import dedup_key

UNPROVEN = frozenset({"fail", "temperror", "permerror"})  # "none": the domain publishes no policy, as many do
MAX_REFERENCES = 50  # message ids looked at, newest first: longer chains are somebody's experiment


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadMatch:
    """The appeal a message joins, and why."""

    appeal_id: UUID
    reason: str  # revision, reply_token, our_message, own_message, number, conversation


@dataclass(kw_only=True, slots=True)
class ThreadIndex:
    """What the registry knows about the references of some messages."""

    by_envelope: dict[str, UUID]  # dedup keys
    by_key: dict[str, UUID]  # thread_keys
    by_number: dict[str, UUID]
    by_conversation: dict[str, UUID]
    appeals: dict[UUID, Appeal]

    def without(self, ids: Collection[UUID]) -> "ThreadIndex":
        """Return the index without these appeals."""

        def kept(found: dict[str, UUID]) -> dict[str, UUID]:
            return {key: value for key, value in found.items() if value not in ids}

        return ThreadIndex(
            by_envelope=kept(self.by_envelope),
            by_key=kept(self.by_key),
            by_number=kept(self.by_number),
            by_conversation=kept(self.by_conversation),
            appeals={key: value for key, value in self.appeals.items() if key not in ids},
        )


def referenced_ids(envelope: AppealEnvelope) -> Sequence[str]:
    """Return the message ids that the envelope answers, nearest first."""
    return envelope.threading.in_reply_to[:MAX_REFERENCES]


def outbound_key(message_id: str) -> str:
    """Return the thread key of a message that we sent."""
    return f"out:{message_id}"


def inbound_key(message_id: str) -> str:
    """Return the thread key of a message that we received."""
    return f"in:{message_id}"


def match_thread(
    envelope: AppealEnvelope, index: ThreadIndex, *, citizen_id: UUID | None, secret_key: bytes
) -> ThreadMatch | None:
    """Return the first match of the policy, or None: the message opens a new appeal."""
    references = envelope.threading
    if envelope.revises is not None:
        appeal_id = index.by_envelope.get(dedup_key(envelope.connector, envelope.revises))
        if appeal_id is not None:
            return ThreadMatch(appeal_id=appeal_id, reason="revision")
    if references.reply_token:
        appeal_id = read_reply_token(secret_key, references.reply_token)
        if appeal_id in index.appeals:
            return ThreadMatch(appeal_id=appeal_id, reason="reply_token")
    match = _match_references(envelope, index, citizen_id=None if is_unproven(envelope) else citizen_id)
    if match is None and references.conversation and (talk := index.by_conversation.get(references.conversation)):
        return ThreadMatch(appeal_id=talk, reason="conversation")
    return match


def _match_references(envelope: AppealEnvelope, index: ThreadIndex, *, citizen_id: UUID | None) -> ThreadMatch | None:
    """Match by message ids, then by the number in the text."""
    for message_id in referenced_ids(envelope):
        if appeal_id := index.by_key.get(outbound_key(message_id)):
            return ThreadMatch(appeal_id=appeal_id, reason="our_message")
        appeal_id = index.by_key.get(inbound_key(message_id))
        if appeal_id and _is_of(citizen_id, appeal_id, index):
            return ThreadMatch(appeal_id=appeal_id, reason="own_message")
    appeal_id = index.by_number.get(envelope.threading.appeal_number or "")
    if appeal_id and _is_of(citizen_id, appeal_id, index):
        return ThreadMatch(appeal_id=appeal_id, reason="number")
    return None


def is_unproven(envelope: AppealEnvelope) -> bool:
    """Tell whether DMARC (RFC 9989) was asked and does not vouch for From: it failed, or could not be worked out."""
    return any(check.method == "dmarc" and check.result in UNPROVEN for check in envelope.authenticity)


def _is_of(citizen_id: UUID | None, appeal_id: UUID, index: ThreadIndex) -> bool:
    appeal = index.appeals.get(appeal_id)
    return citizen_id is not None and appeal is not None and appeal.citizen_id == citizen_id
