"""Records of the registry to views."""

from collections.abc import Iterable

from agent_console.views import (
    AgentView,
    AnswerTargetView,
    AppealDetail,
    AppealSummary,
    CitizenView,
    DecisionView,
    EventView,
    OfferView,
    OfficeView,
    ReplyAttachmentView,
    ReplyView,
    TranscriptView,
)
from appeals.agent import Agent
from appeals.answer import answer_target
from appeals.answer_route import AnswerRoutes
from appeals.appeal import Appeal
from appeals.conversation import Conversation, StoredDecision
from appeals.envelope import AppealEnvelope, ContactPoint
from appeals.event_chain import StoredEvent
from appeals.numbering import mask_secret_codes
from appeals.offer import Offer
from appeals.reply import UNSENT_STATES, Reply, ReplyKind
from appeals.transcript import NEEDED, TRANSCRIPTION, Transcript
from appeals.undelivered import UNDELIVERED
from config.settings import OfficeSettings


def office_view(office: OfficeSettings) -> OfficeView:
    """Show who we are."""
    return OfficeView(name=office.name, language=office.language, timezone=office.timezone)


def agent_view(agent: Agent) -> AgentView:
    """Show an agent."""
    return AgentView(
        id=agent.id,
        name=agent.name,
        role=agent.role,
        capacity_units=agent.capacity_units,
        skills=dict(agent.skills),
        languages=tuple(sorted(agent.languages)),
        channels=tuple(sorted(agent.channels)),
        status=agent.status,
        status_since=agent.status_since,
    )


def appeal_summary(appeal: Appeal) -> AppealSummary:
    """Show an appeal as a line of a list."""
    return AppealSummary(
        id=appeal.id,
        number=appeal.number,
        version=appeal.version,
        state=appeal.state,
        channel=appeal.channel,
        subject=appeal.subject,
        language=appeal.language,
        region=appeal.region,
        topic=appeal.topic,
        topic_confidence=appeal.topic_confidence,
        priority=appeal.priority,
        queue=appeal.queue,
        agent_id=appeal.agent_id,
        received_at=appeal.received_at,
        registered_at=appeal.registered_at,
        waiting_since=appeal.waiting_since,
        changed_at=appeal.changed_at,
        deadline_at=appeal.deadline_at,
        answered_at=appeal.answered_at,
        closed_at=appeal.closed_at,
        undelivered=UNDELIVERED in appeal.attributes,
        transcription_needed=appeal.attributes.get(TRANSCRIPTION) == NEEDED,
    )


def offer_view(offer: Offer, appeal: Appeal) -> OfferView:
    """Show a pending offer, as the agent queue's message has it."""
    return OfferView(
        offer_id=offer.id,
        appeal_id=appeal.id,
        number=appeal.number,
        subject=appeal.subject,
        channel=appeal.channel,
        topic=appeal.topic,
        queue=appeal.queue,
        priority=appeal.priority,
        language=appeal.language,
        waiting_since=appeal.waiting_since,
        deadline_at=appeal.deadline_at,
        due_at=offer.due_at,
        step=offer.step,
    )


def reply_view(reply: Reply) -> ReplyView:
    """Show a reply and how far it has got."""
    return ReplyView(
        id=reply.id,
        kind=reply.kind,
        agent_id=reply.agent_id,
        channel=reply.channel,
        recipient=reply.recipient,
        subject=reply.subject,
        text=mask_secret_codes(reply.text) if reply.kind is ReplyKind.ACKNOWLEDGEMENT else reply.text,
        language=reply.language,
        attachments=tuple(
            ReplyAttachmentView(
                name=item.name, media_type=item.detected_media_type, sha256=item.sha256, size_bytes=item.size_bytes
            )
            for item in reply.attachments
        ),
        state=reply.state,
        attempts=reply.attempts,
        next_attempt_at=reply.next_attempt_at if reply.state in UNSENT_STATES else None,
        error=reply.error,
        created_at=reply.created_at,
        sent_at=reply.sent_at,
    )


def decision_view(decision: StoredDecision) -> DecisionView:
    """Show a routing decision as it was recorded."""
    return DecisionView(at=decision.at, rule_set=decision.rule_set, record=dict(decision.record))


def appeal_detail(conversation: Conversation, routes: AnswerRoutes) -> AppealDetail:
    """Show an appeal with its whole conversation, and where an answer would go."""
    target = answer_target(conversation.envelopes, routes)
    return AppealDetail(
        appeal=appeal_summary(conversation.appeal),
        citizen=_citizen_view(conversation),
        envelopes=conversation.envelopes,
        transcripts=tuple(_transcript_view(transcript) for transcript in conversation.transcripts),
        replies=tuple(reply_view(reply) for reply in conversation.replies),
        events=tuple(_event_view(event, place) for place, event in enumerate(conversation.events, start=1)),
        answer_to=target and AnswerTargetView(channel=target.channel, recipient=target.recipient),
    )


def _transcript_view(transcript: Transcript) -> TranscriptView:
    return TranscriptView(
        envelope_id=transcript.envelope_id,
        state=transcript.state,
        source=transcript.source,
        text=transcript.text,
        confidence=transcript.confidence,
        detail=transcript.detail,
        agent_id=transcript.agent_id,
        changed_at=transcript.changed_at,
    )


def _event_view(event: StoredEvent, place: int) -> EventView:
    return EventView(sequence=place, at=event.at, kind=event.kind, actor=event.actor, details=dict(event.data))


def _citizen_view(conversation: Conversation) -> CitizenView | None:
    if conversation.citizen is None:
        return None
    points = tuple(_contact_points(conversation.envelopes))
    name = conversation.citizen.name or next((point.name for point in points if point.name), "")
    return CitizenView(id=conversation.citizen.id, name=name, contact_points=points)


def _contact_points(envelopes: Iterable[AppealEnvelope]) -> list[ContactPoint]:
    """List from where the citizen wrote and where they want answers, each once."""
    named = (point for envelope in envelopes for point in (envelope.sender, envelope.reply_to) if point is not None)
    return list({(point.kind, point.value): point for point in named}.values())
