"""The form and its answer as plain HTML, for browsers without JavaScript: no script, no style within the page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from config.channel_settings import WebSettings
from config.section import MIB
from config.taxonomy import UNKNOWN, Taxonomy
from connectors.web.refusal import fault_text
from connectors.web.submission import HONEYPOT, Fault, Language, consent_mark

_WORDS: Mapping[str, Mapping[str, str]] = {
    "ru": {
        "title": "Написать обращение",
        "other": "In English",
        "required": "Поля со звёздочкой обязательны.",
        "text": "Что случилось",
        "topic": "Тема",
        "topic_none": "Не знаю, определите сами",
        "address": "Адрес, о котором идёт речь",
        "files": "Файлы",
        "files_hint": "Не больше {count}, вместе до {total} МБ.",
        "name": "Имя и фамилия",
        "answer_by": "Как вам ответить",
        "page": "На этом сайте: по номеру и секретному коду",
        "email": "Электронной почтой",
        "phone": "По СМС",
        "email_field": "Электронная почта",
        "phone_field": "Телефон",
        "consent": "Согласие",
        "submit": "Отправить",
        "honeypot": "Не заполняйте это поле",
        "faults": "Исправьте, пожалуйста:",
        "files_again": "Если вы прикладывали файлы, приложите их снова.",
        "done": "Обращение зарегистрировано",
        "number": "Номер",
        "code": "Секретный код",
        "keep": "Запишите номер и код: по ним видно, где обращение, и виден ответ.",
        "follow": "Где моё обращение",
        "review": "Сообщение принято на проверку",
        "review_text": "Его посмотрит сотрудник. Если это обращение, оно будет зарегистрировано. Номер для справки:",
        "again": "Написать ещё",
    },
    "en": {
        "title": "Write an appeal",
        "other": "По-русски",
        "required": "Fields with an asterisk are required.",
        "text": "What has happened",
        "topic": "Topic",
        "topic_none": "I do not know, find it yourselves",
        "address": "The address it is about",
        "files": "Files",
        "files_hint": "At most {count}, together up to {total} MB.",
        "name": "Name",
        "answer_by": "How shall we answer",
        "page": "On this site, by number and secret code",
        "email": "By email",
        "phone": "By SMS",
        "email_field": "Email address",
        "phone_field": "Telephone",
        "consent": "Consent",
        "submit": "Send",
        "honeypot": "Leave this field empty",
        "faults": "Please mend this:",
        "files_again": "If you attached files, attach them again.",
        "done": "Your appeal is registered",
        "number": "Number",
        "code": "Secret code",
        "keep": "Write both down: they show where your appeal is, and the answer.",
        "follow": "Where is my appeal",
        "review": "Your message has been taken for review",
        "review_text": "A person will look at it. If it is an appeal, it will be registered. Reference:",
        "again": "Write another",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainPage:
    """Writes the pages of one office. Everything that is not ours goes through `escape`."""

    office_name: str
    settings: WebSettings
    taxonomy: Taxonomy

    def form(
        self,
        *,
        language: Language,
        hidden: Mapping[str, str],
        typed: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
        problem: str = "",
    ) -> str:
        """Return the form, with what was typed before and what is wrong with it."""
        values, wrong = typed or {}, {fault.field: fault_text(fault, language) for fault in faults}
        words = _WORDS[language]
        inputs = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
        )
        parts = (
            self._summary(words, list(wrong.values()) + ([problem] if problem else []), files_again=typed is not None),
            f'<form method="post" action="/write/plain?language={language}" enctype="multipart/form-data">{inputs}',
            f"<p>{words['required']}</p>",
            _field(
                words["text"] + " *",
                f'<textarea id="text" name="text" rows="8" required{_wrong("text", wrong)}>\n'
                f"{escape(values.get('text', ''))}</textarea>",
                name="text",
                wrong=wrong,
            ),
            self._topics(language, values),
            _input("address", words["address"], values, wrong),
            self._files(words, wrong),
            _input("name", words["name"] + " *", values, wrong, more='required autocomplete="name"'),
            self._answer_by(words, values, wrong),
            _HONEYPOT.format(label=words["honeypot"]),
            self._consent(language, wrong),
            f'<p><button type="submit">{words["submit"]}</button></p></form>',
        )
        return self._page(language, words["title"], "".join(parts))

    def registered(self, *, language: Language, number: str, code: str | None) -> str:
        """Return what the citizen must write down."""
        words = _WORDS[language]
        link = f"/status#n={number}&c={code}" if code else f"/status#n={number}"
        code_line = f"<dt>{words['code']}</dt><dd>{escape(code)}</dd>" if code else ""
        body = (
            f"<dl><dt>{words['number']}</dt><dd>{escape(number)}</dd>{code_line}</dl><p>{words['keep']}</p>"
            f'<p><a href="{escape(link)}">{words["follow"]}</a></p>'
            f'<p><a href="/write/plain?language={language}">{words["again"]}</a></p>'
        )
        return self._page(language, words["done"], body)

    def under_review(self, *, language: Language, reference: str) -> str:
        """Return what a sender is told whose message went to quarantine."""
        words = _WORDS[language]
        return self._page(
            language, words["review"], f"<p>{words['review_text']} <strong>{escape(reference)}</strong></p>"
        )

    def told(self, text: str, *, language: Language) -> str:
        """Return a page that says why nothing was taken."""
        words = _WORDS[language]
        again = f'<p><a href="/write/plain?language={language}">{words["again"]}</a></p>'
        return self._page(language, words["title"], f'<p class="fault">{escape(text)}</p>{again}')

    def _page(self, language: Language, title: str, body: str) -> str:
        other = "en" if language == "ru" else "ru"
        return (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)} – {escape(self.office_name)}</title>"
            '<link rel="icon" href="/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/write/plain.css">'
            f'</head><body><header><span>{escape(self.office_name)}</span> <a lang="{other}" hreflang="{other}" '
            f'href="/write/plain?language={other}">{_WORDS[language]["other"]}</a></header>'
            f"<main><h1>{escape(title)}</h1>{body}</main></body></html>"
        )

    def _summary(self, words: Mapping[str, str], lines: Sequence[str], *, files_again: bool) -> str:
        if not lines:
            return ""
        told = [*lines, words["files_again"]] if files_again else lines
        items = "".join(f"<li>{escape(line)}</li>" for line in told)
        return f'<div class="fault" role="alert"><h2>{words["faults"]}</h2><ul>{items}</ul></div>'

    def _topics(self, language: Language, values: Mapping[str, str]) -> str:
        words, chosen = _WORDS[language], values.get("topic", "")
        options = "".join(
            f'<option value="{escape(code)}"{" selected" if code == chosen else ""}>'
            f"{escape(self.taxonomy.title(code, language))}</option>"
            for code in self.taxonomy.topics
            if code != UNKNOWN
        )
        control = f'<select id="topic" name="topic"><option value="">{words["topic_none"]}</option>{options}</select>'
        return _field(words["topic"], control, name="topic", wrong={})

    def _files(self, words: Mapping[str, str], wrong: Mapping[str, str]) -> str:
        if not self.settings.max_files:
            return ""
        limits = words["files_hint"].format(
            count=self.settings.max_files, total=self.settings.max_total_bytes // MIB or 1
        )
        control = '<input id="files" name="files" type="file" multiple aria-describedby="files-hint">'
        return _field(
            words["files"], f'<p id="files-hint" class="hint">{limits}</p>{control}', name="files", wrong=wrong
        )

    def _answer_by(self, words: Mapping[str, str], values: Mapping[str, str], wrong: Mapping[str, str]) -> str:
        chosen = values.get("answer_by") or "page"
        choices = "".join(
            f'<p><label><input type="radio" name="answer_by" value="{way}"{" checked" if way == chosen else ""}> '
            f"{words[way]}</label></p>"
            for way in ("page", *self.settings.answer_by)
        )
        contacts = "".join(
            _input(way, words[f"{way}_field"], values, wrong, more=f'autocomplete="{_AUTOCOMPLETE[way]}"')
            for way in self.settings.answer_by
        )
        return f"<fieldset><legend>{words['answer_by']}</legend>{choices}{contacts}</fieldset>"

    def _consent(self, language: Language, wrong: Mapping[str, str]) -> str:
        text = self.settings.consent.en if language == "en" else self.settings.consent.ru
        return (
            f"<fieldset><legend>{_WORDS[language]['consent']} *</legend>{_fault('consent', wrong)}"
            f'<label><input type="checkbox" name="consent" value="{consent_mark(text)}" required'
            f"{_wrong('consent', wrong)}> {escape(text)}</label></fieldset>"
        )


_HONEYPOT = (
    f'<p class="trap" aria-hidden="true"><label for="{HONEYPOT}">{{label}}</label>'
    f'<input id="{HONEYPOT}" name="{HONEYPOT}" tabindex="-1" autocomplete="off"></p>'
)
_AUTOCOMPLETE = {"email": "email", "phone": "tel"}


def _wrong(name: str, wrong: Mapping[str, str]) -> str:
    return f' aria-invalid="true" aria-describedby="{name}-fault"' if name in wrong else ""


def _fault(name: str, wrong: Mapping[str, str]) -> str:
    return f'<p id="{name}-fault" class="fault">{escape(wrong[name])}</p>' if name in wrong else ""


def _field(label: str, control: str, *, name: str, wrong: Mapping[str, str]) -> str:
    return f'<div class="field"><label for="{name}">{escape(label)}</label>{_fault(name, wrong)}{control}</div>'


def _input(name: str, label: str, values: Mapping[str, str], wrong: Mapping[str, str], *, more: str = "") -> str:
    control = f'<input id="{name}" name="{name}" value="{escape(values.get(name, ""))}" {more}{_wrong(name, wrong)}>'
    return _field(label, control, name=name, wrong=wrong)


def typed_again(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what a refused form brought, to be shown again."""
    shown = ("text", "topic", "address", "name", "answer_by", "email", "phone")
    return {name: value for name, value in fields if name in shown}
