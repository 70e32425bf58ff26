"""`/api/v1/appeals`: lists, one appeal with its conversation, and why it was routed as it was."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_console.access import check_may_see, oversees
from agent_console.deps import ConsoleDeps
from agent_console.endpoint import Endpoint, Parameter, fault_summary, json_response
from agent_console.presenters import appeal_detail, appeal_summary, decision_view
from agent_console.problems import ProblemError
from agent_console.session import SessionKeeper
from agent_console.views import NO_NUL, AppealDetail, AppealPage, DecisionList
from appeals.agent import Agent
from appeals.appeal import Appeal, AppealState
from appeals.envelope import Channel, UtcDatetime

MAX_PAGE = 200
LARGEST_READ = 3_200  # appeals: more than one commit can register at one moment

NUMBER = Parameter(
    name="number", place="path", description="The appeal's number, separators allowed", schema={"type": "string"}
)


class AppealFilter(BaseModel):
    """The query of `GET /api/v1/appeals`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Literal["mine", "queue", "all"] | None = Field(
        default=None, description="mine: held or last answered by me; queue: waiting for anybody; all: for supervisors"
    )
    state: tuple[AppealState, ...] = Field(default=(), description="Only in these states; may be repeated")
    agent: str | None = Field(
        default=None, max_length=128, pattern=NO_NUL, description="Only this agent's; for supervisors"
    )
    queue: str | None = Field(default=None, max_length=128, pattern=NO_NUL, description="Only in this queue")
    channel: Channel | None = Field(default=None, description="Only of this channel")
    q: str | None = Field(default=None, max_length=200, pattern=NO_NUL, description="Part of the number or the subject")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE, description="Appeals a page")
    before: UtcDatetime | None = Field(default=None, description="The last page's next_before")

    def for_agent(self, agent: Agent) -> "AppealFilter":
        """Narrow it to what the agent may see; raises ProblemError 403."""
        scope = self.scope or ("all" if oversees(agent) else "mine")
        if not oversees(agent) and (scope == "all" or self.agent not in (None, agent.id)):
            raise ProblemError(HTTPStatus.FORBIDDEN, "forbidden", detail="scope=all and agent are for supervisors")
        if scope == "mine":
            return self.model_copy(update={"scope": scope, "agent": agent.id})
        if scope == "queue":
            return self.model_copy(update={"scope": scope, "agent": None, "state": (AppealState.WAITING,)})
        return self.model_copy(update={"scope": scope})


class AppealApi:
    """Appeals over REST."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper) -> None:
        self._registry = deps.registry
        self._routes = deps.routes
        self._sessions = sessions

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        return [
            Endpoint(
                method="GET",
                path="/api/v1/appeals",
                handler=self.list_page,
                summary="List appeals, newest first",
                answer=AppealPage,
                parameters=_query_parameters(),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}",
                handler=self.show,
                summary="One appeal with its envelopes, replies and events",
                answer=AppealDetail,
                parameters=(NUMBER,),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/decisions",
                handler=self.decisions,
                summary="Why the router gave the appeal to whom it did",
                answer=DecisionList,
                parameters=(NUMBER,),
            ),
        ]

    async def list_page(self, request: web.Request) -> web.Response:
        """Answer one page."""
        session = await self._sessions.require(request)
        wanted = _read_filter(request).for_agent(session.agent)
        appeals, more = await self._page(wanted)
        next_before = _moment(appeals[-1].registered_at) if more else None
        summaries = tuple(appeal_summary(appeal) for appeal in appeals)
        return json_response(AppealPage(appeals=summaries, next_before=next_before))

    async def show(self, request: web.Request) -> web.Response:
        """Answer one appeal with its conversation."""
        appeal = await self._visible_appeal(request)
        return json_response(appeal_detail(await self._registry.conversation(appeal.id), self._routes))

    async def decisions(self, request: web.Request) -> web.Response:
        """Answer the router's records."""
        appeal = await self._visible_appeal(request)
        records = await self._registry.decisions(appeal.id)
        return json_response(DecisionList(decisions=tuple(decision_view(record) for record in records)))

    async def _visible_appeal(self, request: web.Request) -> Appeal:
        session = await self._sessions.require(request)
        appeal = await self._registry.appeal_by_number(request.match_info["number"])
        check_may_see(session.agent, appeal)
        return appeal

    async def _page(self, wanted: AppealFilter) -> tuple[list[Appeal], bool]:
        """Read a page that ends between two moments: appeals of one commit share theirs, and none may be skipped."""
        limit = wanted.limit
        while True:
            found = await self._registry.list_appeals(
                states=wanted.state,
                agent_id=wanted.agent,
                queue=wanted.queue,
                channel=wanted.channel,
                text=wanted.q,
                limit=limit + 1,
                before=wanted.before,
            )
            if len(found) <= limit:
                return found, False
            whole = [appeal for appeal in found if appeal.registered_at > found[-1].registered_at]
            if whole or limit >= LARGEST_READ:
                return whole or found[:limit], True
            limit *= 4


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")  # no plus sign: it is a blank in a query


def _read_filter(request: web.Request) -> AppealFilter:
    query: dict[str, object] = dict(request.query)
    if "state" in query:
        query["state"] = tuple(request.query.getall("state"))
    try:
        return AppealFilter.model_validate(query)
    except ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "invalid_request", detail=fault_summary(error)) from error


def _query_parameters() -> tuple[Parameter, ...]:
    properties = AppealFilter.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    return tuple(
        Parameter(
            name=name,
            description=schema.get("description", ""),
            schema={key: value for key, value in schema.items() if key not in ("title", "description")},
        )
        for name, schema in properties.items()
    )
