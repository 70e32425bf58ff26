"""`okno check`: settings, rules and taxonomy, without starting anything."""

from collections.abc import Callable
from dataclasses import dataclass

from appeals.database import registry_url
from appeals.errors import ConfigurationError
from config.kiosk_forms import load_kiosk_forms, unknown_topics
from config.settings import Settings
from config.taxonomy import load_taxonomy
from config.templates import load_templates
from connectors.email import check_mail_out
from okno.bootstrap import CONNECTOR_GROUP
from okno.http_server import client_address
from queues.factory import open_queues
from router.rules import default_rules_path, load_rules


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsReport:
    """What is wrong, and what is odd."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def check_settings(settings: Settings) -> SettingsReport:
    """Try everything that can be tried without a network, all faults at once."""
    faults: list[str] = []
    warnings: list[str] = []

    def check_rules() -> None:
        warnings.extend(load_rules(settings.routing.rules or default_rules_path()).warnings)

    def check_kiosk_forms() -> None:
        taxonomy = load_taxonomy(settings.classifier.taxonomy)
        topics = unknown_topics(load_kiosk_forms(settings.kiosk.forms), taxonomy)
        warnings.extend(f"warning: kiosk.forms: {topic}" for topic in topics)

    attempts: list[Callable[[], object]] = [
        lambda: registry_url(settings.registry.url, settings.data_dir),
        lambda: open_queues(settings.queues),
        lambda: client_address(settings.http),
        lambda: load_taxonomy(settings.classifier.taxonomy),
        lambda: load_templates(settings.delivery.templates),
        *([lambda: warnings.extend(check_mail_out(settings.email))] if settings.email.enabled else []),
        check_rules,
        *([check_kiosk_forms] if settings.kiosk.enabled or settings.kiosk.forms else []),
    ]
    for attempt in attempts:
        try:
            attempt()
        except ConfigurationError as error:
            faults.append(str(error))
    warnings += _oddities(settings)
    return SettingsReport(faults=tuple(faults), warnings=tuple(warnings))


def _oddities(settings: Settings) -> list[str]:
    odd = []
    if settings.sms.enabled and not settings.sms.auth_token.get_secret_value():
        odd.append("warning: sms.auth_token is empty: no hook of the provider can be trusted")
    if settings.telegram.enabled and not settings.telegram.token.get_secret_value():
        odd.append("warning: telegram.token is empty")
    if settings.kiosk.enabled and not settings.kiosk.devices:
        odd.append("note: kiosk.devices is empty: only kiosks that `okno kiosk add` made are let in")
    if not settings.http.public_url and settings.sms.enabled:
        odd.append("warning: http.public_url is empty: signatures of hooks are made over the public address")
    if settings.web.enabled:
        odd += [
            f"warning: web.answer_by offers {way}, but {channel}.enabled is false: those answers stay on the page"
            for way, channel in (("email", "email"), ("phone", "sms"))
            if way in settings.web.answer_by and not getattr(settings, channel).enabled
        ]
    if settings.connectors:
        odd.append(
            f"note: connectors {', '.join(settings.connectors)} come from entry points of group {CONNECTOR_GROUP}"
        )
    return odd
