"""How Twilio refuses: https://www.twilio.com/docs/api/errors and …/docs/usage/twilios-response."""

from aiohttp import web

ERRORS = {  # code -> (status, message), as Twilio words them
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    21211: (400, "Invalid 'To' Phone Number"),
    21602: (400, "Message body is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The 'From' phone number provided is not a valid message-capable Twilio phone number."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit."),
}


def refusal(code: int, *, headers: dict[str, str] | None = None) -> web.Response:
    """Return the API's answer for an error code."""
    status, message = ERRORS[code]
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return web.json_response(
        {"code": code, "message": message, "more_info": more_info, "status": status}, status=status, headers=headers
    )
