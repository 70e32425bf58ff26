"""What a filled-in form says about the appeal: the roles of its fields become text, subject, citizen and topic."""

from appeals.envelope import MAX_SUBJECT_CHARS, Location
from config.kiosk_forms import FormRole, KioskForm, text_in
from connectors.kiosk.submission import KioskCitizen, KioskSubmission

MAX_NAME_CHARS = 500
MAX_PHONE_CHARS = 100
MAX_EMAIL_CHARS = 320  # what KioskCitizen takes


def fill_from_form(form: KioskForm, submission: KioskSubmission) -> KioskSubmission:
    """Return the submission with text, subject, citizen and place as the form's roles tell; what is there stays."""
    answers = submission.field_texts()

    def answer(role: FormRole) -> str:
        field = form.field_of(role)
        return answers.get(field.name, "").strip() if field is not None else ""

    citizen = submission.citizen
    filled = KioskCitizen(
        name=(citizen.name or answer("name"))[:MAX_NAME_CHARS],
        phone=(citizen.phone or answer("phone"))[:MAX_PHONE_CHARS],
        email=(citizen.email or answer("email"))[:MAX_EMAIL_CHARS],
    )
    subject = submission.subject or _choice_title(form, "subject", submission) or answer("subject")
    address = answer("address")
    update = {
        "text": submission.text or answer("text"),
        "subject": (subject or _choice_title(form, "topic", submission))[:MAX_SUBJECT_CHARS],
        "citizen": filled,
        "location": submission.location or (Location(address=address) if address else None),
    }
    return submission.model_copy(update=update)


def form_fields(form: KioskForm, submission: KioskSubmission) -> dict[str, str]:
    """Return the envelope's fields: an answer with a role under the role's name, the text not a second time."""
    role_of = {field.name: field.role for field in form.fields if field.role is not None}
    citizen = fill_from_form(form, submission).citizen
    fields = {"form": f"{form.id} {form.version}"} | _of_citizen(citizen)
    for name, value in submission.field_texts().items():
        role = role_of.get(name)
        if value and role != "text":
            fields[role or name] = value
    return fields


def plain_fields(submission: KioskSubmission) -> dict[str, str]:
    """Return the envelope's fields of a form that is not of our file."""
    named = {"form": submission.form} | _of_citizen(submission.citizen)
    return {name: value for name, value in named.items() if value} | submission.field_texts()


def _of_citizen(citizen: KioskCitizen) -> dict[str, str]:
    known = {"name": citizen.name, "phone": citizen.phone, "email": citizen.email}
    return {name: value for name, value in known.items() if value}


def _choice_title(form: KioskForm, role: FormRole, submission: KioskSubmission) -> str:
    """Return the title, in the citizen's language, of what was chosen in the field with that role."""
    field = form.field_of(role)
    if field is None:
        return ""
    value = submission.fields.get(field.name)
    return next((text_in(choice.title, submission.language) for choice in field.choices if choice.value == value), "")
