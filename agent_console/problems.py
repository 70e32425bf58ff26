"""Errors as the REST API tells them: RFC 9457 problem details, in words for people, without an exception's text."""

import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from uuid_utils.compat import uuid7

from agent_console.views import LocalizedText, Problem
from appeals.errors import (
    IllegalTransitionError,
    NotFoundError,
    NotHolderError,
    OknoError,
    PermanentError,
    StaleVersionError,
    TransientError,
)

logger = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
BROKEN_BODY = (RequestPayloadError, HttpProcessingError)  # not what its headers say
RETRY_AFTER_S = 5  # where the store that is down did not say

MESSAGES: Mapping[str, LocalizedText] = {
    "invalid_request": LocalizedText(ru="Запрос составлен неверно.", en="The request is not well formed."),
    "not_logged_in": LocalizedText(ru="Войдите в систему.", en="Please log in."),
    "log_in_failed": LocalizedText(ru="Неверное имя или пароль.", en="Wrong name or password."),
    "forbidden": LocalizedText(ru="Это обращение ведёт другой сотрудник.", en="Another agent handles this appeal."),
    "csrf": LocalizedText(
        ru="Запрос отклонён: он пришёл не со страницы Окна.", en="Refused: the request did not come from an Okno page."
    ),
    "infected": LocalizedText(
        ru="В файле найдена вредоносная программа. Его может открыть только руководитель смены.",
        en="Malware was found in this file. Only a supervisor can fetch it.",
    ),
    "not_found": LocalizedText(ru="Ничего не найдено. Проверьте номер.", en="Nothing found. Check the number."),
    "citizen_not_found": LocalizedText(
        ru="Обращение не найдено. Проверьте номер и код.", en="No such appeal. Check the number and the code."
    ),
    "method_not_allowed": LocalizedText(ru="Так обратиться нельзя.", en="That method is not allowed here."),
    "stale": LocalizedText(
        ru="Обращение уже изменилось. Откройте его снова.", en="The appeal has changed meanwhile. Open it again."
    ),
    "gone": LocalizedText(ru="Предложение уже неактуально.", en="The offer is no longer there."),
    "illegal": LocalizedText(
        ru="В нынешнем состоянии обращения это невозможно.", en="The appeal's state does not allow that."
    ),
    "too_large": LocalizedText(ru="Слишком большой объём данных.", en="That is too large."),
    "unsupported_media_type": LocalizedText(ru="Такой формат не принимается.", en="That format is not accepted."),
    "too_many_requests": LocalizedText(
        ru="Слишком много попыток. Подождите немного.", en="Too many attempts. Please wait a little."
    ),
    "upload_unknown": LocalizedText(
        ru="Файл больше не хранится. Приложите его снова.", en="The file is no longer kept. Attach it again."
    ),
    "letter_incomplete": LocalizedText(
        ru="Заполнено не всё, что нужно для регистрации.", en="Something that registration needs is missing."
    ),
    "letter_empty": LocalizedText(ru="Введите текст или приложите скан.", en="Type the text in or attach a scan."),
    "letter_date": LocalizedText(
        ru="Проверьте дату получения: она не может быть в будущем или слишком давней.",
        en="Check the date of receipt: it can be neither in the future nor too long ago.",
    ),
    "letter_contact": LocalizedText(
        ru="Проверьте телефон и электронную почту заявителя.", en="Check the citizen's telephone and email address."
    ),
    "letter_too_long": LocalizedText(ru="Одно из полей слишком длинное.", en="One of the fields is too long."),
    "letter_too_many_scans": LocalizedText(ru="Слишком много файлов.", en="Too many files."),
    "letter_too_many_pages": LocalizedText(ru="В сканах слишком много страниц.", en="The scans have too many pages."),
    "letter_scan_too_large": LocalizedText(ru="Сканы слишком велики.", en="The scans are too large."),
    "letter_scan_type": LocalizedText(
        ru="Сканы принимаются в форматах PDF, TIFF, JPEG и PNG.", en="Scans are taken as PDF, TIFF, JPEG and PNG."
    ),
    "letter_scan_unreadable": LocalizedText(
        ru="Скан не открывается. Отсканируйте письмо ещё раз.", en="A scan cannot be opened. Scan the letter again."
    ),
    "rejected": LocalizedText(ru="Выполнить это невозможно.", en="That cannot be done."),
    "unavailable": LocalizedText(
        ru="Сервис временно недоступен. Попробуйте через несколько секунд.",
        en="The service is unavailable for the moment. Try again in a few seconds.",
    ),
    "internal": LocalizedText(ru="Внутренняя ошибка. Мы уже записали её.", en="Internal error. It has been logged."),
    "invalid_message": LocalizedText(ru="Сообщение не понято.", en="The message was not understood."),
    "hello_first": LocalizedText(ru="Сначала нужно сообщение hello.", en="The first message must be hello."),
    "page_not_built": LocalizedText(ru="Страница не собрана.", en="The page has not been built."),
}


class ProblemError(OknoError):
    """Raised by a handler to answer with a problem.

    `code` is a key of MESSAGES; `detail` is for developers and never another exception's text.
    """

    def __init__(
        self, status: HTTPStatus, code: str, *, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status.value} {code} {detail}".rstrip())
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def problem_response(
    status: HTTPStatus,
    code: str,
    *,
    detail: str = "",
    incident: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return the response that tells a problem."""
    problem = Problem(
        title=status.phrase, status=status, code=code, detail=detail, message=MESSAGES[code], incident=incident
    )
    return web.Response(
        status=status, body=problem.model_dump_json().encode(), content_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def retry_after(error: TransientError) -> dict[str, str]:
    """Return the header that tells when to come back, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s or RETRY_AFTER_S)))}


_STATUS_OF: tuple[tuple[type[OknoError], HTTPStatus, str], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND, "not_found"),
    (NotHolderError, HTTPStatus.FORBIDDEN, "forbidden"),
    (StaleVersionError, HTTPStatus.CONFLICT, "stale"),
    (IllegalTransitionError, HTTPStatus.CONFLICT, "illegal"),
    (PermanentError, HTTPStatus.UNPROCESSABLE_ENTITY, "rejected"),
)
_CODE_OF_STATUS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "invalid_request",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}


def error_code(error: OknoError) -> str:
    """Return the stable code of one of our errors; `internal` for those that no client can cause."""
    if isinstance(error, ProblemError):
        return error.code
    if isinstance(error, TransientError):
        return "unavailable"
    return next((code for kind, _, code in _STATUS_OF if isinstance(error, kind)), "internal")


def log_incident(event: str, error: BaseException, **details: str) -> str:
    """Log an unexpected exception whole and return the id that names the log line."""
    incident = str(uuid7())
    logger.error(event, incident=incident, exc_info=error, **details)
    return incident


def _okno_error_response(error: OknoError, request: web.Request) -> web.Response:
    if isinstance(error, ProblemError):
        return problem_response(error.status, error.code, detail=error.detail, headers=error.headers)
    if isinstance(error, TransientError):
        logger.warning("console.store_unavailable", path=request.path, error=type(error).__name__)
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", headers=retry_after(error))
    for kind, status, code in _STATUS_OF:
        if isinstance(error, kind):
            return problem_response(status, code)
    return _internal_response(error, request)


def _internal_response(error: BaseException, request: web.Request) -> web.Response:
    incident = log_incident("console.request_failed", error, path=request.path, method=request.method)
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", incident=incident)


def _http_error_response(error: web.HTTPException, request: web.Request) -> web.Response:
    if error.status < HTTPStatus.BAD_REQUEST:
        raise error
    code = _CODE_OF_STATUS.get(error.status)
    if code is None:
        return _internal_response(error, request)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return problem_response(HTTPStatus(error.status), code, headers=headers)


async def with_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Call `handler` and turn what it raises into problem details."""
    try:
        return await handler(request)
    except OknoError as error:
        response = _okno_error_response(error, request)
    except web.HTTPException as error:
        response = _http_error_response(error, request)
    except BROKEN_BODY:
        response = problem_response(
            HTTPStatus.BAD_REQUEST, "invalid_request", detail="the body is not what its headers say"
        )
    except ConnectionError as error:
        if request.transport is not None:  # not the client's connection: a bug
            return _internal_response(error, request)
        logger.info("console.client_gone", path=request.path)
        response = problem_response(HTTPStatus.BAD_REQUEST, "invalid_request")  # nobody reads it
    except Exception as error:  # noqa: BLE001 - the last wall: logged whole, told as an incident number
        response = _internal_response(error, request)
    if request.content.exception() is not None:
        response.force_close()  # what follows a broken body on the connection cannot be told from it
    return response
