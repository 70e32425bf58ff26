"""What a citizen is told of a field that will not do. The page has the same words (`page/texts.js`)."""

from collections.abc import Mapping

MESSAGES: Mapping[str, Mapping[str, str]] = {
    "required": {"ru": "Заполните это поле.", "en": "Please fill this in.", "kk": "Бұл өрісті толтырыңыз."},
    "consent": {
        "ru": "Без согласия мы не можем принять обращение.",
        "en": "Without your consent we cannot take the appeal.",
        "kk": "Келісіміңізсіз өтінішті қабылдай алмаймыз.",
    },
    "too_short": {
        "ru": "Слишком коротко: не меньше {limit} знаков.",
        "en": "Too short: at least {limit} characters.",
        "kk": "Тым қысқа: кемінде {limit} таңба.",
    },
    "too_long": {
        "ru": "Слишком длинно: не больше {limit} знаков.",
        "en": "Too long: at most {limit} characters.",
        "kk": "Тым ұзын: ең көбі {limit} таңба.",
    },
    "too_small": {"ru": "Не меньше {limit}.", "en": "At least {limit}.", "kk": "Кемінде {limit}."},
    "too_large": {"ru": "Не больше {limit}.", "en": "At most {limit}.", "kk": "Ең көбі {limit}."},
    "too_few": {
        "ru": "Выберите не меньше {limit}.",
        "en": "Choose at least {limit}.",
        "kk": "Кемінде {limit} таңдаңыз.",
    },
    "too_many": {
        "ru": "Выберите не больше {limit}.",
        "en": "Choose at most {limit}.",
        "kk": "Ең көбі {limit} таңдаңыз.",
    },
    "pattern": {
        "ru": "Проверьте, правильно ли написано.",
        "en": "Please check how it is written.",
        "kk": "Дұрыс жазылғанын тексеріңіз.",
    },
    "email": {
        "ru": "Адрес выглядит так: name@example.org.",
        "en": "An address looks like name@example.org.",
        "kk": "Мекенжай мынадай болады: name@example.org.",
    },
    "phone": {
        "ru": "Номер с кодом страны, например +7 921 123-45-67.",
        "en": "A number with its country code, such as +7 921 123-45-67.",
        "kk": "Ел коды бар нөмір, мысалы +7 921 123-45-67.",
    },
    "date": {"ru": "Такой даты нет.", "en": "There is no such date.", "kk": "Мұндай күн жоқ."},
    "choice": {"ru": "Выберите из списка.", "en": "Choose from the list.", "kk": "Тізімнен таңдаңыз."},
    "type": {"ru": "Здесь нужно другое значение.", "en": "Another kind of value is needed.", "kk": "Басқа мән қажет."},
    "too_many_files": {
        "ru": "Файлов не больше {limit}.",
        "en": "At most {limit} files.",
        "kk": "Ең көбі {limit} файл.",
    },
    "file_too_large": {
        "ru": "Файл больше {limit} МБ.",
        "en": "The file is larger than {limit} MB.",
        "kk": "Файл {limit} МБ-тан үлкен.",
    },
    "file_type": {
        "ru": "Файлы такого вида не принимаются.",
        "en": "Files of this kind are not taken.",
        "kk": "Мұндай түрдегі файлдар қабылданбайды.",
    },
    "unknown_field": {
        "ru": "Такого поля в форме нет.",
        "en": "The form has no such field.",
        "kk": "Нысанда мұндай өріс жоқ.",
    },
}
