"""From a submission to the appeal envelope."""

from dataclasses import dataclass
from datetime import datetime

from appeals.answer_route import ADDITION
from appeals.envelope import (
    AppealEnvelope,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    Location,
    ThreadReferences,
)
from appeals.registration import Contents, Registration
from connectors.media import describe_attachment
from connectors.web.submission import Submission


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedSubmission:
    """A submission ready to be registered."""

    envelope: AppealEnvelope
    contents: Contents


def build_envelope(
    submission: Submission,
    body: bytes,
    *,
    body_type: str,
    connector: str,
    received_at: datetime,
    authenticity: AuthenticityResult,
) -> DecodedSubmission:
    """Return the envelope and its bytes. `body` is what the browser posted, kept as the original.

    The sender is the submission, because nobody has proved that the email or telephone typed in is theirs; answers go
    there all the same (`reply_to`). Another text under the same submission id, from somebody who changed it after a
    try whose answer was lost, is a further message of the same appeal: nothing is lost, nothing is doubled.
    """
    contents = {(raw := BlobRef.of(body, body_type)).sha256: body}
    attachments = []
    for file in submission.files:
        attachment = describe_attachment(file.name, file.media_type, file.content)
        contents[attachment.sha256] = file.content
        attachments.append(attachment)
    envelope = AppealEnvelope(
        channel=Channel.WEB,
        connector=connector,
        external_id=f"{submission.id}/{submission.fingerprint}",
        received_at=received_at,
        sender=ContactPoint(kind=ContactPointKind.WEB, value=submission.id, name=submission.name),
        reply_to=submission.contact,
        text=submission.text,
        clean_text=submission.text,
        language=submission.language,
        attachments=tuple(attachments),
        threading=ThreadReferences(
            reply_token=submission.reply_token or None, conversation=f"{connector}/{submission.id}"
        ),
        authenticity=(authenticity,),
        marks=(ADDITION,) if submission.reply_token else (),
        location=Location(address=submission.address) if submission.address else None,
        fields=_fields_of(submission, received_at),
        raw=raw,
    )
    return DecodedSubmission(envelope=envelope, contents=contents)


def code_to_tell(submission: Submission, registration: Registration) -> str | None:
    """Return the appeal's secret code for whoever sent this; None if they named the appeal by a reply token.

    A reply token is in every mail's Reply-To: a forwarded mail must not buy the code, which opens all of the appeal.
    """
    added = bool(submission.reply_token) and (registration.joined or registration.duplicate)
    return None if added else registration.secret_code


def _fields_of(submission: Submission, received_at: datetime) -> dict[str, str]:
    contact = submission.contact
    known = {
        "topic": submission.topic,
        "name": submission.name,
        "address": submission.address,
        contact.kind.value if contact else "": submission.contact_as_typed,
        "consent": submission.consent,
        "consent_at": received_at.isoformat() if submission.consent else "",
    }
    return {name: value for name, value in known.items() if name and value}
