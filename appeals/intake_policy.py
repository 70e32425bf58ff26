"""What the intake decides by: who we are, how long an answer may take, when an old appeal is opened again."""

from dataclasses import dataclass, field
from datetime import timedelta

from appeals.answer_route import AnswerRoutes
from config.settings import DeadlineSettings, OfficeSettings
from config.templates import MessageTemplates, default_templates


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakePolicy:
    """Everything about intake that an operator can set, and the key that signs codes and tokens."""

    secret_key: bytes
    public_url: str
    office: OfficeSettings
    deadlines: DeadlineSettings
    acknowledge: bool = True
    max_acknowledgements_per_hour: int = 10  # to one citizen; more appeals than that are registered in silence
    mail_domain: str = "okno.localhost"  # of our message ids
    routes: AnswerRoutes = field(default_factory=AnswerRoutes)
    templates: MessageTemplates = field(default_factory=default_templates)
    reopen_within: timedelta = timedelta(days=30)  # a later message opens a new appeal
