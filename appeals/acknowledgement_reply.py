"""The first reply to a citizen: number, secret code, deadline."""

from datetime import datetime

from uuid_utils.compat import uuid7

from appeals.acknowledgement import TOLD_BY_LETTERS, acknowledgement, guess_language
from appeals.appeal import Appeal
from appeals.envelope import AppealEnvelope, Channel, ContactPoint
from appeals.intake_policy import IntakePolicy
from appeals.numbering import secret_code
from appeals.reply import Reply, ReplyKind


def acknowledgement_reply(
    appeal: Appeal, envelope: AppealEnvelope, policy: IntakePolicy, *, recipient: ContactPoint, now: datetime
) -> Reply:
    """Return the acknowledgement to queue, in the language of the citizen's words."""
    reply_id = uuid7()
    language = _language(envelope, policy)
    channel, connector = policy.routes.to(recipient, envelope)
    subject, text = acknowledgement(
        language=language,
        number=appeal.number,
        code=secret_code(policy.secret_key, appeal.id),
        deadline_at=appeal.deadline_at,
        timezone=policy.office.timezone,
        url=policy.public_url,
        office=policy.office.name,
        short=channel is Channel.SMS,
        templates=policy.templates,
    )
    return Reply(
        id=reply_id,
        appeal_id=appeal.id,
        kind=ReplyKind.ACKNOWLEDGEMENT,
        agent_id=None,
        channel=channel,
        connector=connector,
        recipient=recipient,
        subject=subject,
        text=text,
        language=language,
        in_reply_to=(envelope.threading.message_id,) if envelope.threading.message_id else (),
        message_id=f"{reply_id.hex}@{policy.mail_domain}",
        next_attempt_at=now,
        created_at=now,
    )


def _language(envelope: AppealEnvelope, policy: IntakePolicy) -> str:
    """Return the language to write in: what the citizen says it is, if there are texts in it, else by the letters.

    Between those that letters can tell apart letters decide: mail programs name the language of their menus.
    """
    said = (envelope.language or "").partition("-")[0]
    if said in policy.templates.languages and said not in TOLD_BY_LETTERS:
        return said
    return guess_language(f"{envelope.subject} {envelope.clean_text}", default=policy.office.language)
