"""Telephone numbers in E.164."""

import phonenumbers


def to_e164(number: str, *, default_region: str) -> str | None:
    """Return the number in E.164; None if it is no telephone number (a short code, a name of letters)."""
    try:
        parsed = phonenumbers.parse(number, default_region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
