"""`okno user`: the people who work in the console."""

import getpass
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer
from argon2 import PasswordHasher

from appeals.agent import MAX_SKILL_LEVEL, MIN_SKILL_LEVEL, Agent, Role
from appeals.envelope import Channel
from appeals.errors import ConfigurationError, NotFoundError
from config.taxonomy import Taxonomy, load_taxonomy
from okno.bootstrap import existing_registry, make_lifecycle, opened_registry
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.data_folder import prepare_data_folder
from okno.output import print_json, print_lines, print_table, progress

MIN_PASSWORD_CHARS = 10

app = typer.Typer(help="Agents, supervisors and admins.", no_args_is_help=True, add_completion=False)

Skills = Annotated[list[str] | None, typer.Option("--skill", help="skill:level, e.g. housing:3; may be repeated.")]
Languages = Annotated[list[str] | None, typer.Option("--language", help="BCP 47, e.g. ru; may be repeated.")]
Channels = Annotated[list[Channel] | None, typer.Option("--channel", help="May answer on; all if not given.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command("add")
def add(
    login: str,
    *,
    name: Annotated[str | None, typer.Option(help="The person's name; a new one's is the log-in if not given.")] = None,
    role: Annotated[Role | None, typer.Option(help="What they may do; a new one is an agent if not given.")] = None,
    capacity: Annotated[int | None, typer.Option(min=1, help="Units of work at a time; a new one's are 6.")] = None,
    skill: Skills = None,
    language: Languages = None,
    channel: Channels = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Add a person, or change one: what is given replaces what was. Asks for a password for a new one."""
    settings = load(config, data).settings
    prepare_data_folder(settings.data_dir)
    skills = None if skill is None else _parse_skills(skill, load_taxonomy(settings.classifier.taxonomy))
    given = {
        "name": name,
        "role": role,
        "capacity_units": capacity,
        "skills": skills,
        "languages": None if language is None else frozenset(language),
        "channels": None if channel is None else frozenset(channel),
    }

    async def main() -> Agent:
        async with opened_registry(settings) as registry:
            known = {agent.id: agent for agent in await registry.agents()}.get(login)
            new = Agent(id=login, name=name or login, languages=frozenset([settings.office.language]))
            changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
            agent = replace(known or new, **changes)
            needs_password = known is None or password_stdin
            password = _read_password(from_stdin=password_stdin) if needs_password else None
            hashed = PasswordHasher().hash(password) if password is not None else None
            await make_lifecycle(settings, registry).put_agent(agent, hashed)
            return agent

    agent = run(main())
    print_json(agent) if as_json else print_lines(f"{login} may log in.")


@app.command("list")
def list_users(*, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """List everybody."""
    settings = load(config, data).settings

    async def main() -> list[Agent]:
        async with existing_registry(settings) as registry:
            return await registry.agents()

    agents = run(main())
    if as_json:
        print_json(agents)
        return
    rows = [
        (
            agent.id,
            agent.name,
            agent.role,
            agent.status if agent.active else "deactivated",
            agent.capacity_units,
            ", ".join(f"{skill}:{level}" for skill, level in sorted(agent.skills.items())),
            ", ".join(sorted(agent.languages)),
        )
        for agent in agents
    ]
    print_table("Users", ("log-in", "name", "role", "status", "units", "skills", "languages"), rows)


@app.command("password")
def set_password(
    login: str,
    *,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Set somebody's password."""
    agent = _change(config, data, login, password=_read_password(from_stdin=password_stdin))
    print_json(agent) if as_json else print_lines(f"{login} has a new password.")


@app.command("deactivate")
def deactivate(login: str, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Bar somebody from logging in; their history stays."""
    agent = _change(config, data, login, active=False)
    print_json(agent) if as_json else print_lines(f"{login} may no longer log in.")


@app.command("activate")
def activate(login: str, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Let somebody log in again."""
    agent = _change(config, data, login, active=True)
    print_json(agent) if as_json else print_lines(f"{login} may log in.")


def _change(
    config: ConfigFile, data: DataDir, login: str, *, active: bool | None = None, password: str | None = None
) -> Agent:
    settings = load(config, data).settings

    async def main() -> Agent:
        async with existing_registry(settings) as registry:
            agent = await registry.agent(login)
            changed = agent if active is None else replace(agent, active=active)
            hashed = PasswordHasher().hash(password) if password is not None else None
            await make_lifecycle(settings, registry).put_agent(changed, hashed)
            return changed

    try:
        return run(main())
    except NotFoundError as error:
        raise ConfigurationError(f"there is no user {login!r}; see `okno user list`") from error


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask for a password: use --password-stdin")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise ConfigurationError("the two passwords differ")
    if len(password) < MIN_PASSWORD_CHARS:
        raise ConfigurationError(f"a password has at least {MIN_PASSWORD_CHARS} characters")
    return password


def _parse_skills(given: list[str], taxonomy: Taxonomy) -> dict[str, int]:
    skills = {}
    for item in given:
        skill, _, level = item.partition(":")
        if not skill or not level.isdecimal() or not MIN_SKILL_LEVEL <= int(level) <= MAX_SKILL_LEVEL:
            raise ConfigurationError(f"--skill {item!r}: write skill:level with a level from 1 to 5, such as housing:3")
        if skill not in taxonomy.skills:  # a rule may ask for one that no topic has
            progress(f"note: skill {skill!r} is not in the taxonomy, which has {', '.join(sorted(taxonomy.skills))}")
        skills[skill] = int(level)
    return skills
