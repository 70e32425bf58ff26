"""Lists of appeals, one appeal, its decisions; the API's document and its errors."""

import asyncio
import re
from typing import Any

from jsonschema import Draft202012Validator


async def get(client: Any, path: str, **params: Any) -> tuple[int, dict[str, Any]]:
    async with client.get(path, params=params) as response:
        return response.status, await response.json(content_type=None)


async def test_an_appeal_is_returned_with_envelopes_replies_events_and_decisions(site: Any) -> None:
    """GET by number, with or without separators, gives the whole conversation and why it was routed so."""
    appeal = await site.register()
    await site.offer("ivanova", appeal)
    client = await site.logged_in("ivanova")
    for number in (appeal.number, appeal.number.replace("-", ""), f" {appeal.number} "):
        status, detail = await get(client, f"/api/v1/appeals/{number}")
        assert (status, detail["appeal"]["number"]) == (200, appeal.number)
    assert detail["envelopes"][0]["schema"] == "okno.envelope/1"
    assert detail["citizen"]["name"] == "Анна"
    assert [event["sequence"] for event in detail["events"]] == list(range(1, len(detail["events"]) + 1))
    assert detail["replies"][0]["kind"] == "acknowledgement"
    status, decisions = await get(client, f"/api/v1/appeals/{appeal.number}/decisions")
    assert (status, decisions["decisions"][0]["record"]["chosen"]) == (200, "ivanova")


async def test_an_unknown_number_is_a_404_problem(site: Any) -> None:
    """Whatever stands in the number's place: 404, not 500."""
    client = await site.logged_in("ivanova")
    cases = ["482-719-3561", "1", "%00", "..", "' OR 1=1", "9" * 500]
    for number in cases:
        async with client.get(f"/api/v1/appeals/{number}") as response:
            assert response.status == 404
            assert (await response.json(content_type=None))["code"] == "not_found"


async def test_an_agent_lists_own_appeals_and_the_queue_a_supervisor_all(site: Any) -> None:
    """Scopes: mine by default for agents, queue for waiting ones, all for supervisors alone."""
    console, _ = await site.console_of("ivanova")
    held = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    released = (await console.command("accept", offer_id=str(await site.offer("ivanova"))))["appeal"]
    await console.command("release", appeal_id=released["id"], version=released["version"])
    other, _ = await site.console_of("petrov")
    others = (await other.command("accept", offer_id=str(await site.offer("petrov"))))["appeal"]
    agent, boss = await site.logged_in("ivanova"), await site.logged_in("boss")

    async def ids(client: Any, **params: Any) -> set[str]:
        status, page = await get(client, "/api/v1/appeals", **params)
        assert status == 200, page
        return {appeal["id"] for appeal in page["appeals"]}

    assert await ids(agent) == {held["id"]}
    assert await ids(agent, scope="queue") == {released["id"]}
    assert await ids(boss) == {held["id"], released["id"], others["id"]}
    assert await ids(boss, agent="petrov") == {others["id"]}
    assert await ids(boss, scope="mine") == set()
    assert await ids(boss, q=held["number"]) == {held["id"]}
    assert await ids(boss, state="assigned", queue="housing", channel="email") == {held["id"], others["id"]}
    assert await ids(boss, state="closed") == set()
    for forbidden in ({"scope": "all"}, {"agent": "petrov"}):
        status, problem = await get(agent, "/api/v1/appeals", **forbidden)
        assert (status, problem["code"]) == (403, "forbidden")


async def test_paging_skips_nothing_that_one_commit_registered(site: Any) -> None:
    """Appeals registered in one transaction share their moment: pages still hold each exactly once."""
    appeals = await asyncio.gather(*(site.register(subject=f"№ {number}") for number in range(23)))
    assert len({appeal.registered_at for appeal in appeals}) < len(appeals)
    boss = await site.logged_in("boss")
    seen: list[str] = []
    before: dict[str, str] = {}
    for _ in range(len(appeals) + 1):
        status, page = await get(boss, "/api/v1/appeals", limit=3, **before)
        assert status == 200, page
        seen += [appeal["id"] for appeal in page["appeals"]]
        if page["next_before"] is None:
            break
        before = {"before": page["next_before"]}
    assert sorted(seen) == sorted(str(appeal.id) for appeal in appeals)


async def test_a_wrong_filter_is_refused_by_name(site: Any) -> None:
    """400 with the parameter's name: a mistyped filter never silently shows everything."""
    client = await site.logged_in("boss")
    cases = [
        "limit=0",
        "limit=x",
        "limit=100000",
        "state=lost",
        "channel=pigeon",
        "before=now",
        "before=2026-01-01T00:00:00",
        "scope=theirs",
        "unknown=1",
        "q=%00",
        "queue=a%00",
    ]
    for query in cases:
        async with client.get(f"/api/v1/appeals?{query}") as response:
            assert response.status == 400
            assert query.partition("=")[0] in (await response.json(content_type=None))["detail"]


async def test_nothing_is_shown_without_a_session(site: Any) -> None:
    """Every endpoint that needs a session answers 401 without one."""
    client = await site.client()
    for endpoint in site.console.endpoints:
        if not endpoint.needs_session or endpoint.uploads:
            continue
        async with client.request(endpoint.method, re.sub(r"\{\w+\}", "1", endpoint.path)) as response:
            assert response.status == 401, endpoint.path


async def test_unknown_paths_and_methods_are_problems(site: Any) -> None:
    """404 and 405 under /api/ are problem details too, the latter with Allow."""
    client = await site.client()
    async with client.get("/api/v1/nothing") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with client.put("/api/v1/session") as response:
        assert (response.status, response.content_type) == (405, "application/problem+json")
        assert set(response.headers["Allow"].split(",")) >= {"GET", "POST", "DELETE"}


async def test_the_openapi_document_has_every_route_and_every_reference_resolves(site: Any) -> None:
    """Routes under /api/ and the document's paths are the same set; its schemas are valid."""
    client = await site.client()
    status, document = await get(client, "/api/openapi.json")
    assert status == 200
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in site.runner.app.router.routes()
        if route.resource.canonical.startswith("/api/") and route.method != "HEAD"
    }
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert served == described
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', await _text(client)))
    assert references <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


async def _text(client: Any) -> str:
    async with client.get("/api/openapi.json") as response:
        return await response.text()
