"""Why a fax failed, in words: the values of Telnyx's `failure_reason`.

Source: https://developers.telnyx.com/docs/programmable-fax/receiving-webhooks ("Possible failure reasons") and
https://support.telnyx.com/en/articles/4967498-programmable-fax-errors.
"""

from connectors.media import clean_text

MAX_REASON_CHARS = 100

_REASONS = {
    "account_disabled": "the account at the gateway is disabled",
    "carrier_lost": "the line was lost during the transmission",
    "connection_channel_limit_exceeded": "too many faxes at a time for this connection",
    "destination_invalid": "the number is not valid",
    "destination_not_in_countries_whitelist": "the gateway's account does not allow this country",
    "destination_not_in_service_plan": "the gateway's tariff does not reach this number",
    "destination_unreachable": "the number cannot be reached",
    "fax_initial_communication_timeout": "somebody answered, but no fax machine",
    "fax_signaling_error": "the machines could not agree with each other",
    "file_download_failed": "the gateway could not fetch the pages",
    "file_format_invalid": "the gateway could not read the pages",
    "file_size_limit_exceeded": "the document is too large (at most 50 MB)",
    "invalid_ecm_response_from_receiver": "the other machine's error correction does not work",
    "media_processing_exception": "the gateway could not convert the pages",
    "no_outbound_profile": "the gateway's application has no outbound voice profile",
    "outbound_profile_channel_limit_exceeded": "too many faxes at a time for the outbound voice profile",
    "outbound_profile_daily_spend_limit_exceeded": "the day's spending limit at the gateway is reached",
    "page_count_limit_exceeded": "the document has too many pages (at most 350)",
    "receiver_call_dropped": "the other side hung up",
    "receiver_communication_error": "the connection to the other machine failed",
    "receiver_decline": "the other side refused the call",
    "receiver_incompatible_destination": "the other side takes no faxes",
    "receiver_invalid_number_format": "the number is not in international form",
    "receiver_no_answer": "nobody answered",
    "receiver_no_response": "nobody answered",
    "receiver_recovery_on_timer_expire": "the call ran out of time",
    "receiver_unallocated_number": "the number is not assigned to anybody",
    "sender_call_dropped": "the sender hung up",
    "sender_canceled": "the sender broke off",
    "sender_communication_error": "the connection to the sender failed",
    "service_unavailable": "the gateway had a fault of its own",
    "unverified_destination_not_allowed": "the gateway's account may call verified numbers only",
    "unverified_origination_number": "our number is not verified at the gateway",
    "user_busy": "the line was busy",
    "user_channel_limit_exceeded": "too many faxes at a time for the account",
}


def explain_failure(reason: str) -> str:
    """Return a reason in words, with the gateway's own word behind it; an unknown one as it came."""
    code = clean_text(reason).strip()[:MAX_REASON_CHARS]
    words = _REASONS.get(code)
    return f"{words} ({code})" if words else code or "no reason given"
