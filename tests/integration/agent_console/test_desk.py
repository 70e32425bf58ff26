"""An agent's work over the websocket, from the offer to the answer."""

import asyncio
from typing import Any

from appeals.appeal import AppealState
from appeals.reply import DeliveryState


async def test_offer_is_accepted_answered_and_closed_over_the_websocket(site: Any) -> None:
    """The main path: offer → accept → open → reply → close; every step is committed and told to the console."""
    console, welcome = await site.console_of("ivanova")
    assert welcome["snapshot"]["agent"]["status"] == "offline"
    ready = await console.command("set_status", status="available")
    assert ready["type"] == "ack"
    assert ready["agent"]["status"] == "available"

    offer_id = await site.offer("ivanova")
    offer = await console.until(lambda message: message["type"] == "offer")
    assert offer["offer_id"] == str(offer_id)
    assert offer["subject"] == "Холодные батареи"

    accepted = await console.command("accept", offer_id=offer["offer_id"])
    assert accepted["appeal"]["state"] == "assigned"
    assert accepted["appeal"]["agent_id"] == "ivanova"
    gone = await console.until(lambda message: message["type"] == "offer_gone")
    assert gone["reason"] == "accepted"

    opened = await console.command("open", appeal_id=offer["appeal_id"])
    assert opened["type"] == "opened"
    assert opened["detail"]["envelopes"][0]["text"] == "Третий день холодно."

    replied = await console.command(
        "reply", appeal_id=offer["appeal_id"], version=accepted["appeal"]["version"], text="Бригада выехала."
    )
    assert replied["reply"]["state"] == DeliveryState.QUEUED
    assert replied["appeal"]["state"] == "answered"

    closed = await console.command(
        "close", appeal_id=offer["appeal_id"], version=replied["appeal"]["version"], reason="готово"
    )
    assert closed["appeal"]["state"] == "closed"
    stored = await site.registry.appeal_by_number(offer["number"])
    assert stored.state is AppealState.CLOSED


async def test_of_two_tabs_that_accept_one_offer_exactly_one_wins(site: Any) -> None:
    """P7: two clicks at once give one ack and one `gone`, and both tabs learn that the offer is over."""
    client = await site.logged_in("ivanova")
    first, _ = await site.console_of("ivanova", client=client)
    second, _ = await site.console_of("ivanova", client=client)
    offer_id = str(await site.offer("ivanova"))
    answers = await asyncio.gather(*(tab.command("accept", offer_id=offer_id) for tab in (first, second)))
    kinds = sorted(answer["type"] for answer in answers)
    assert kinds == ["ack", "error"]
    refused = next(answer for answer in answers if answer["type"] == "error")
    assert refused["code"] == "gone"
    assert refused["message"]["ru"]
    for tab in (first, second):
        await tab.until(lambda message: message["type"] == "offer_gone")


async def test_an_agent_cannot_accept_the_offer_of_another(site: Any) -> None:
    """An offer id of a colleague is as good as unknown, and the offer stays theirs."""
    offer_id = await site.offer("ivanova")
    thief, _ = await site.console_of("petrov")
    answer = await thief.command("accept", offer_id=str(offer_id))
    assert (answer["type"], answer["code"]) == ("error", "not_found")
    assert [offer.id for offer in await site.registry.pending_offers("ivanova")] == [offer_id]


async def test_a_decline_gives_the_appeal_back(site: Any) -> None:
    """A declined appeal waits again with its age, and the reason is in its history."""
    console, _ = await site.console_of("ivanova")
    offer_id = await site.offer("ivanova")
    waiting_since = (await console.until(lambda message: message["type"] == "offer"))["waiting_since"]
    answer = await console.command("decline", offer_id=str(offer_id), reason="не моя тема")
    assert answer["appeal"]["state"] == "waiting"
    assert answer["appeal"]["waiting_since"] == waiting_since
    detail = await console.command("open", appeal_id=answer["appeal"]["id"])
    assert any(event["details"].get("reason") == "не моя тема" for event in detail["detail"]["events"])


async def test_a_stale_version_is_refused_and_changes_nothing(site: Any) -> None:
    """A reply on an old version gets `stale`; the citizen gets no second answer."""
    console, _ = await site.console_of("ivanova")
    accepted = await console.command("accept", offer_id=str(await site.offer("ivanova")))
    appeal = accepted["appeal"]
    for _ in range(2):
        answer = await console.command("reply", appeal_id=appeal["id"], version=appeal["version"], text="Да.")
    assert (answer["type"], answer["code"]) == ("error", "stale")
    opened = await console.command("open", appeal_id=appeal["id"])
    assert [reply["kind"] for reply in opened["detail"]["replies"]].count("answer") == 1


async def test_only_the_holder_may_reply_close_or_release(site: Any) -> None:
    """Commands on a colleague's appeal get `forbidden`, also from a supervisor, and reading it is refused to agents."""
    holder, _ = await site.console_of("ivanova")
    appeal = (await holder.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    for other in ("petrov", "boss"):
        console, _ = await site.console_of(other)
        base = {"appeal_id": appeal["id"], "version": appeal["version"]}
        for command in (("reply", {"text": "x"}), ("close", {}), ("release", {})):
            answer = await console.command(command[0], **base, **command[1])
            assert (answer["type"], answer["code"]) == ("error", "forbidden"), (other, command)
    stranger, _ = await site.console_of("petrov")
    assert (await stranger.command("open", appeal_id=appeal["id"]))["code"] == "forbidden"


async def test_a_released_appeal_waits_again(site: Any) -> None:
    """Release puts an assigned appeal back into the queue with its age."""
    console, _ = await site.console_of("ivanova")
    appeal = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    answer = await console.command("release", appeal_id=appeal["id"], version=appeal["version"], note="передаю")
    assert answer["appeal"]["state"] == "waiting"
    assert answer["appeal"]["waiting_since"] == appeal["waiting_since"]


async def test_the_snapshot_holds_offers_and_held_appeals(site: Any) -> None:
    """A console that opens late sees at once what is offered and what is held."""
    console, _ = await site.console_of("ivanova")
    held = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    offer_id = await site.offer("ivanova")
    _, welcome = await site.console_of("ivanova")
    snapshot = welcome["snapshot"]
    assert [offer["offer_id"] for offer in snapshot["offers"]] == [str(offer_id)]
    assert [appeal["id"] for appeal in snapshot["appeals"]] == [held["id"]]


async def test_a_reply_carries_the_uploaded_file_once(site: Any) -> None:
    """An upload goes out with the reply, can be downloaded from it, and is used up."""
    client = await site.logged_in("ivanova")
    console, _ = await site.console_of("ivanova", client=client)
    appeal = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    content = b"%PDF-1.7 plan"
    upload = await site.upload(client, content, name="план.pdf")
    answer = await console.command(
        "reply", appeal_id=appeal["id"], version=appeal["version"], text="План приложен.", attachments=[upload["id"]]
    )
    assert answer["type"] == "ack", answer
    sent = answer["reply"]["attachments"][0]
    assert (sent["name"], sent["media_type"]) == ("план.pdf", "application/pdf")
    async with client.get(f"/api/v1/appeals/{appeal['number']}/blobs/{sent['sha256']}") as response:
        assert await response.read() == content
    again = await console.command(
        "reply",
        appeal_id=appeal["id"],
        version=answer["appeal"]["version"],
        text="Ещё раз.",
        attachments=[upload["id"]],
    )
    assert again["code"] == "upload_unknown"


async def test_an_upload_of_another_agent_cannot_be_sent(site: Any) -> None:
    """Upload ids work for the agent who uploaded alone."""
    other = await site.logged_in("petrov")
    upload = await site.upload(other, b"secret")
    console, _ = await site.console_of("ivanova")
    appeal = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    answer = await console.command(
        "reply", appeal_id=appeal["id"], version=appeal["version"], text="x", attachments=[upload["id"]]
    )
    assert answer["code"] == "upload_unknown"
