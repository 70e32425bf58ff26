"""The citizen's page: number and code show where the appeal is, and nothing shows anything else."""

from typing import Any

from appeals.numbering import new_number, secret_code

URL = "/api/v1/citizen/status"
KEY = b"k" * 32


async def ask(client: Any, number: str, code: str) -> tuple[int, dict[str, Any]]:
    async with client.post(URL, json={"number": number, "code": code}) as response:
        return response.status, await response.json(content_type=None)


async def test_an_appeal_is_followed_like_a_parcel(site: Any) -> None:
    """Registered → in progress → answered → closed, each with its time, with the answer's words."""
    appeal = await site.register()
    code = secret_code(KEY, appeal.id)
    citizen = await site.client()

    async def stages() -> tuple[str, list[bool], list[str]]:
        status, view = await ask(citizen, appeal.number, code)
        assert status == 200, view
        steps = [step["at"] is not None for step in view["steps"]]
        return view["stage"], steps, [answer["text"] for answer in view["answers"]]

    assert await stages() == ("registered", [True, False, False, False], [])
    console, _ = await site.console_of("ivanova")
    taken = (await console.command("accept", offer_id=str(await site.offer("ivanova", appeal))))["appeal"]
    assert await stages() == ("in_progress", [True, True, False, False], [])
    answered = await console.command("reply", appeal_id=taken["id"], version=taken["version"], text="Бригада выехала.")
    assert await stages() == ("answered", [True, True, True, False], ["Бригада выехала."])
    await console.command("close", appeal_id=taken["id"], version=answered["appeal"]["version"])
    assert await stages() == ("closed", [True, True, True, True], ["Бригада выехала."])


async def test_number_and_code_are_read_as_people_write_them(site: Any) -> None:
    """Separators, case and look-alike letters do not matter."""
    appeal = await site.register()
    code = secret_code(KEY, appeal.id)
    citizen = await site.client()
    for number, written in (
        (appeal.number.replace("-", " "), code.lower()),
        (f"№ {appeal.number}", code.replace("-", "")),
        (appeal.number.replace("-", ""), code.replace("0", "O").replace("1", "I")),
    ):
        assert (await ask(citizen, number, written))[0] == 200, (number, written)


async def test_wrong_number_and_wrong_code_get_the_very_same_answer(site: Any) -> None:
    """No oracle: nobody learns from the answer which numbers exist."""
    appeal, other = await site.register(), await site.register()
    citizen = await site.client()
    answers = [
        await ask(citizen, appeal.number, "AAAA-AAAA"),
        await ask(citizen, appeal.number, secret_code(KEY, other.id)),
        await ask(citizen, new_number(), secret_code(KEY, appeal.id)),
        await ask(citizen, "000-000-0001", "AAAA-AAAA"),
        await ask(citizen, "не номер", "не код"),
        await ask(citizen, "\u0000", "\u0000"),
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 404
    assert answers[0][1]["code"] == "citizen_not_found"


async def test_tries_are_limited(make_site: Any) -> None:
    """Codes cannot be guessed by trying: 429 after so many a minute."""
    site = await make_site(status_attempts_per_minute=4)
    citizen = await site.client()
    assert [(await ask(citizen, "1", "1"))[0] for _ in range(6)] == [404] * 4 + [429] * 2


async def test_the_page_never_shows_the_code_or_what_agents_note(site: Any) -> None:
    """The acknowledgement, which holds the code, and internal events stay inside."""
    appeal = await site.register()
    code = secret_code(KEY, appeal.id)
    citizen = await site.client()
    async with citizen.post(URL, json={"number": appeal.number, "code": code}) as response:
        text = await response.text()
    assert code not in text
    assert "events" not in text
    assert "agent_id" not in text


async def test_a_malformed_question_is_refused(site: Any) -> None:
    """422 problem details for a body of the wrong shape."""
    citizen = await site.client()
    cases = [{}, {"number": "1"}, {"number": "", "code": ""}, {"number": 1, "code": 2}, []]
    for body in cases:
        async with citizen.post(URL, json=body) as response:
            assert response.status == 422
