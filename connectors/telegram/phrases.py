"""What the bot itself says to citizens, in Russian and English."""

from appeals.appeal import AppealState

LANGUAGES = ("ru", "en")
LANGUAGE_NAMES = {"ru": "Русский", "en": "English"}
_RUSSIAN_READERS = frozenset({"ru", "be", "kk", "ky", "tg", "uk", "uz"})  # where English would be the worse guess

COMMANDS = {  # shown by Telegram beside the input field
    "ru": {
        "start": "Начать, выбрать язык",
        "status": "Где моё обращение: /status НОМЕР",
        "new": "Начать новое обращение",
        "help": "Что умеет этот бот",
    },
    "en": {
        "start": "Begin, choose a language",
        "status": "Where my appeal is: /status NUMBER",
        "new": "Begin a new appeal",
        "help": "What this bot can do",
    },
}

_PHRASES = {
    "greeting": {
        "ru": (
            "Здравствуйте! Это {office}. Напишите сюда своё обращение: текст, фото, документ или голосовое сообщение. "
            "Мы зарегистрируем его и пришлём номер; ответ придёт в этот же чат."
        ),
        "en": (
            "Hello! This is {office}. Write your appeal here: text, a photo, a document or a voice message. "
            "We will register it and send you its number; the answer will come to this chat."
        ),
    },
    "help": {
        "ru": (
            "Всё, что вы пишете в этот чат, мы регистрируем как обращение или добавляем к последнему.\n"
            "/new — начать новое обращение\n/status — ваши обращения\n/status НОМЕР — где обращение сейчас\n"
            "/start — язык и согласие\n"
            "Чтобы дополнить одно из нескольких обращений, ответьте на наше сообщение о нём."
        ),
        "en": (
            "All that you write in this chat is registered as an appeal or added to your last one.\n"
            "/new — begin a new appeal\n/status — your appeals\n/status NUMBER — where an appeal is\n"
            "/start — language and consent\n"
            "To add to one of several appeals, reply to our message about it."
        ),
    },
    "unknown_command": {
        "ru": "Такой команды нет, и сообщение не зарегистрировано. Обращение пишите просто текстом. /help",
        "en": "There is no such command, and nothing was registered. Write an appeal as plain text. /help",
    },
    "new": {
        "ru": "Следующее сообщение откроет новое обращение.",
        "en": "Your next message will open a new appeal.",
    },
    "no_appeals": {"ru": "Открытых обращений нет.", "en": "You have no open appeals."},
    "not_found": {
        "ru": "Обращения с таким номером у вас нет. Проверьте номер: в нём десять цифр, например 482-719-3566.",
        "en": "You have no appeal of that number. Check it: it has ten digits, for example 482-719-3566.",
    },
    "status_line": {"ru": "№ {number}: {state}. {subject}", "en": "No. {number}: {state}. {subject}"},
    "deadline": {"ru": "Ответ не позднее {date}.", "en": "Answer by {date}."},
    "status_unavailable": {
        "ru": "Сейчас узнать не получилось. Повторите через несколько минут.",
        "en": "We cannot tell just now. Please ask again in a few minutes.",
    },
    "language_set": {"ru": "Дальше пишем по-русски.", "en": "We will write in English."},
    "consent_yes": {"ru": "Согласен(на)", "en": "I agree"},
    "consent_no": {"ru": "Не согласен(на)", "en": "I do not agree"},
    "consent_given": {"ru": "Вы дали согласие {date}.", "en": "You gave consent on {date}."},
    "consent_refused": {
        "ru": "Согласия нет. Обращение мы всё равно примем; изменить решение можно командой /start.",
        "en": "No consent was given. We take your appeal all the same; /start lets you change your mind.",
    },
    "topics": {"ru": "Указать тему", "en": "Choose the topic"},
    "topic_taken": {"ru": "Тема: {title}", "en": "Topic: {title}"},
    "satisfaction": {
        "ru": "Оцените ответ: 1 — не помог, 5 — помог полностью.",
        "en": "Rate this answer: 1, it did not help, to 5, it helped in full.",
    },
    "satisfaction_taken": {"ru": "Спасибо за оценку: {value}", "en": "Thank you for your rating: {value}"},
    "button_old": {"ru": "Эта кнопка больше не действует.", "en": "This button has expired."},
    "about": {"ru": "Обращение № {number}", "en": "Appeal No. {number}"},
    "write_privately": {
        "ru": "Приняли. Номер и ответ придут в личный чат: откройте {link} и нажмите «Старт».",
        "en": "Taken. The number and the answer come to a private chat: open {link} and press Start.",
    },
    "command_privately": {
        "ru": "Команды работают в личном чате: {link}",
        "en": "Commands work in a private chat: {link}",
    },
}

_STATES = {
    AppealState.REGISTERED: {"ru": "зарегистрировано", "en": "registered"},
    AppealState.WAITING: {"ru": "ждёт специалиста", "en": "waiting for an agent"},
    AppealState.OFFERED: {"ru": "ждёт специалиста", "en": "waiting for an agent"},
    AppealState.ASSIGNED: {"ru": "в работе", "en": "being worked on"},
    AppealState.ANSWERED: {"ru": "ответ дан", "en": "answered"},
    AppealState.CLOSED: {"ru": "закрыто", "en": "closed"},
}


def phrase(name: str, language: str, **words: str) -> str:
    """Return one of the bot's sentences; `language` is "ru" or "en"."""
    return _PHRASES[name][language].format(**words)


def state_name(state: AppealState, language: str) -> str:
    """Return what a citizen is told of an appeal's state."""
    return _STATES[state][language]


def known_language(tag: str, *, default: str) -> str:
    """Return "ru" or "en" for a BCP 47 tag; `default` for what is neither close to one nor known."""
    first = tag.partition("-")[0].lower()
    if first in _RUSSIAN_READERS:
        return "ru"
    return default if first in {"", "und"} else "en"
