"""Refusals of the form as problem details (RFC 9457), with a stable code and words for people in both languages."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from connectors.problem import PROBLEM_MEDIA_TYPE
from connectors.web.submission import Fault

_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "foreign_page": {
        "ru": "Запрос отклонён: он пришёл с чужой страницы.",
        "en": "Refused: the request came from another site's page.",
    },
    "too_many_requests": {
        "ru": "С вашего адреса отправлено слишком много обращений. Подождите и попробуйте снова.",
        "en": "Too many appeals were sent from your address. Wait and try again.",
    },
    "challenge_required": {
        "ru": "Проверка браузера устарела. Отправьте обращение ещё раз.",
        "en": "The browser's check has run out. Send the appeal once more.",
    },
    "invalid_form": {
        "ru": "Форма заполнена не полностью или с ошибками.",
        "en": "The form is not complete or has faults.",
    },
    "invalid_request": {"ru": "Запрос составлен неверно.", "en": "The request is not well formed."},
    "too_large": {
        "ru": "Приложенные файлы слишком велики. Уберите часть из них.",
        "en": "The attached files are too large. Remove some of them.",
    },
}
_FAULTS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("text", "missing"): {"ru": "Напишите, что случилось.", "en": "Write what has happened."},
    ("text", "too_long"): {"ru": "Текст слишком длинный.", "en": "The text is too long."},
    ("name", "missing"): {"ru": "Укажите имя и фамилию.", "en": "State your name."},
    ("name", "too_long"): {"ru": "Имя слишком длинное.", "en": "The name is too long."},
    ("address", "too_long"): {"ru": "Адрес слишком длинный.", "en": "The address is too long."},
    ("email", "missing"): {"ru": "Укажите электронную почту.", "en": "State your email address."},
    ("email", "invalid"): {
        "ru": "Проверьте адрес электронной почты, например: anna@example.org.",
        "en": "Check the email address, for example: anna@example.org.",
    },
    ("phone", "missing"): {"ru": "Укажите номер телефона.", "en": "State your telephone number."},
    ("phone", "invalid"): {
        "ru": "Проверьте номер телефона, например: +7 921 123-45-67.",
        "en": "Check the telephone number, for example: +7 921 123-45-67.",
    },
    ("answer_by", "invalid"): {"ru": "Выберите, как вам ответить.", "en": "Choose how to answer you."},
    ("topic", "invalid"): {"ru": "Выберите тему из списка.", "en": "Choose a topic of the list."},
    ("consent", "missing"): {"ru": "Нужно ваше согласие.", "en": "Your consent is needed."},
    ("consent", "changed"): {
        "ru": "Текст согласия изменился. Прочитайте его и отметьте снова.",
        "en": "The text of the consent has changed. Read it and tick it again.",
    },
    ("files", "too_many"): {"ru": "Слишком много файлов.", "en": "Too many files."},
    ("files", "too_large"): {"ru": "Один из файлов слишком велик.", "en": "One of the files is too large."},
    ("files", "too_large_together"): {
        "ru": "Все файлы вместе слишком велики.",
        "en": "All files together are too large.",
    },
}
_OTHER_FAULT: Mapping[str, str] = {"ru": "Обновите страницу.", "en": "Load the page anew."}


def is_foreign(request: web.Request) -> bool:
    """Tell whether a browser says that another site's page sent this (Fetch Metadata); old browsers do not say."""
    return request.headers.get("Sec-Fetch-Site") == "cross-site"


def fault_text(fault: Fault, language: str) -> str:
    """Return what to tell the citizen of a fault; `language`: ru or en."""
    return _FAULTS.get((fault.field, fault.code), _OTHER_FAULT)[language]


def refusal_text(code: str, language: str) -> str:
    """Return what to tell the citizen of a refusal; `language`: ru or en."""
    return _MESSAGES[code][language]


def refusal(
    status: HTTPStatus, code: str, *, faults: Sequence[Fault] = (), retry_after_s: float | None = None
) -> web.Response:
    """Return the refusal; `faults` name the fields that have to be mended."""
    members: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "code": code,
        "message": _MESSAGES[code],
    }
    if faults:
        members["faults"] = [
            {
                "field": fault.field,
                "code": fault.code,
                "message": {language: fault_text(fault, language) for language in ("ru", "en")},
            }
            for fault in faults
        ]
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    return web.json_response(members, status=status, headers=headers, content_type=PROBLEM_MEDIA_TYPE)
