"""`okno demo`: the daemon on embedded defaults in a small city whose citizens write on every channel."""

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from rich.console import Console
from rich.text import Text

from appeals.agent import Agent, Role
from appeals.appeal import Appeal
from appeals.cursors import RegistryCursors
from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from appeals.transcript import TRANSCRIPTION
from config.settings import Settings
from config.taxonomy import load_taxonomy
from connectors.base import ConnectorHealth
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.enrolment import KioskAdministration
from okno.bootstrap import connectors_key, make_lifecycle, opened_registry
from okno.daemon import Daemon, Running, run_until_signal
from okno.data_folder import prepare_data_folder
from okno.demo_messages import DemoMessage, load_demo_messages, messages_for
from okno.log import configure_logs
from okno.outside.city import MAILBOX, City
from okno.secret_key import load_secret_key
from okno.settings_file import load_settings

PASSWORD = "okno-demo-2026"  # noqa: S105 - printed on the screen, for a demo on loopback
SMTP_PORT = 8025
POLL_S = 0.5
SHOWN = 500  # newest appeals watched for the live lines
HINT_EVERY = 40  # lines: a screenful
WIDE = 110  # columns
CHANNEL_WEIGHTS = {Channel.EMAIL: 4, Channel.TELEGRAM: 3, Channel.SMS: 3, Channel.KIOSK: 2, Channel.FAX: 1}
TIFF_CHANCE = 0.5
TRIAL_KIOSK = "try-it"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """What the command line says."""

    rate: float  # appeals a second
    traffic: bool
    port: int
    data: Path


async def run_demo(options: DemoOptions) -> None:
    """Run until Ctrl-C. Raises ConfigurationError if a port or the data folder cannot be had."""
    prepare_data_folder(options.data)
    console = Console(highlight=False)
    console.print("Okno is starting…")
    async with City() as city:
        settings = _settings(options, city)
        configure_logs(settings.log)
        await _add_agents(settings)
        kiosk_code = await _enrol_kiosk(settings)
        started: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        daemon = Daemon(settings, on_running=started.set_result, progress=console.print)
        async with asyncio.TaskGroup() as group:
            show = group.create_task(_show(started, city, options, console, kiosk_code=kiosk_code))
            group.create_task(_cancel_when_stopping(daemon, show))
            try:
                await run_until_signal(daemon)
            finally:
                daemon.stop()
    console.print("Okno has stopped; everything is kept in", str(options.data))


async def _cancel_when_stopping(daemon: Daemon, show: asyncio.Task[None]) -> None:
    await daemon.stopping()
    show.cancel()


def _settings(options: DemoOptions, city: City) -> Settings:
    spool = options.data / "fax-spool"
    spool.mkdir(parents=True, exist_ok=True)
    smtp_port = SMTP_PORT if options.port and _is_free(SMTP_PORT) else 0  # port 0 asks for any free ones
    return load_settings(
        None,
        overrides={
            **city.settings(spool_dir=spool, smtp_port=smtp_port),
            "data_dir": options.data,
            "http": {"port": options.port},
            "office": {"name": "Okno demo"},
            "web": {"enabled": True, "answer_by": ["email", "phone"]},
            "paper": {"enabled": True},
            "routing": {"offer_timeout_s": 120, "wrap_up_s": 2, "timeout_delay_s": 5},
            "log": {"level": "error"},
        },
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def demo_agents() -> list[Agent]:
    """Return the people of the demo office: one for all, two for a part each, one who supervises."""
    skills = load_taxonomy().skills
    everything = dict.fromkeys((*skills, TRANSCRIPTION), 4)
    return [
        Agent(id="anna", name="Анна Иванова", capacity_units=12, skills=everything, languages=frozenset({"ru", "en"})),
        Agent(id="boris", name="Борис Петров", capacity_units=8, skills={"housing": 5, "payments": 3, "triage": 2}),
        Agent(
            id="emma",
            name="Emma Smith",
            capacity_units=8,
            skills={**everything, "triage": 4},
            languages=frozenset({"en"}),
        ),
        Agent(id="vera", name="Вера Соколова", role=Role.SUPERVISOR, skills=everything, languages=frozenset({"ru"})),
    ]


async def _add_agents(settings: Settings) -> None:
    async with opened_registry(settings) as registry:
        known = {agent.id for agent in await registry.agents()}
        lifecycle = make_lifecycle(settings, registry)
        for agent in demo_agents():
            if agent.id not in known:
                await lifecycle.put_agent(agent, PasswordHasher().hash(PASSWORD))


async def _enrol_kiosk(settings: Settings) -> str:
    """Return a code with which whoever tries the demo can make a kiosk of a browser tab."""
    signing_key = connectors_key(load_secret_key(settings))
    async with opened_registry(settings) as registry:
        cursors, now = RegistryCursors(registry), registry.now()
        devices = KioskDevices(settings.kiosk, cursors, signing_key=signing_key)
        office = KioskAdministration(devices, cursors, signing_key=signing_key, now=now)
        if TRIAL_KIOSK not in {kiosk.id for kiosk in await devices.all(now=now)}:
            await office.add(TRIAL_KIOSK, name="Try it")
        return (await office.enrol(TRIAL_KIOSK)).code


async def _show(
    started: "asyncio.Future[Running]", city: City, options: DemoOptions, console: Console, *, kiosk_code: str
) -> None:
    """Print where everything is, then a line for each step of each appeal, while citizens write."""
    running = await started
    smtp_port = _smtp_port([connector.health() for connector in running.connectors])
    city.daemon_is_at(running.public_url, smtp_port=smtp_port)
    _print_addresses(running, options, console, kiosk_code=kiosk_code)
    async with asyncio.TaskGroup() as group:
        group.create_task(_show_appeals(running, console))
        if options.traffic:
            group.create_task(
                _write_appeals(city, options.rate, on_error=lambda text: console.print(Text(text, "red")))
            )


def _smtp_port(healths: list[ConnectorHealth]) -> int:
    for health in healths:
        for address in health.addresses:
            if address.startswith("smtp://"):
                return int(address.rpartition(":")[2])
    raise ConfigurationError("the mail connector did not say where it listens")


def _print_addresses(running: Running, options: DemoOptions, console: Console, *, kiosk_code: str) -> None:
    """Print where everything is, one address a line, so that it can be copied from a narrow terminal."""
    url = running.public_url
    healths = {connector.name: connector.health() for connector in running.connectors}
    rows = [
        ("Agents' console", f"{url}/"),
        ("  log in as", f"{', '.join(agent.id for agent in demo_agents())}; password {PASSWORD}"),
        ("Citizen's page", f"{url}/write and {url}/status"),
        ("Kiosk page", f"{url}/kiosk/ with the code {kiosk_code}"),
        *((f"Channel {name}", line) for name, health in healths.items() for line in _where(health)),
        ("API", f"{url}/api/openapi.json"),
        ("Health", f"{url}/readyz"),
        ("Metrics", f"{url}/metrics"),
        ("Data", str(options.data)),
    ]
    last = ""
    for name, value in rows:
        line = Text(f"  {'' if name == last else name:<17} ").append(value, "bold" if name == rows[0][0] else "")
        console.print(line, soft_wrap=True)
        last = name
    console.print(
        "\nWrite yourself:\n"
        "  printf 'Subject: No heating\\n\\nCold since Monday.\\n' |\n"
        f"    curl smtp://127.0.0.1:{_smtp_port(list(healths.values()))} -T - \\\n"
        f"    --mail-from you@example.org --mail-rcpt {MAILBOX}\n",
        soft_wrap=True,
        markup=False,
    )
    console.print(_hint(running), style="dim", soft_wrap=True)


def _where(health: ConnectorHealth) -> tuple[str, ...]:
    return health.addresses or (health.detail or health.state.value,)


def _hint(running: Running) -> str:
    return f"-- {running.public_url}/  log in: anna, {PASSWORD}; Ctrl-C stops"


async def _show_appeals(running: Running, console: Console) -> None:
    """Print a line whenever an appeal has entered a state, and now and then again where to log in."""
    registry = running.parts.registry
    seen = {appeal.id: appeal.state for appeal in await registry.list_appeals(limit=SHOWN)}
    lines = 0
    while True:
        for appeal in reversed(await registry.list_appeals(limit=SHOWN)):
            if seen.get(appeal.id) is not appeal.state:
                seen[appeal.id] = appeal.state
                console.print(_line(appeal, width=console.width), no_wrap=True, overflow="ellipsis")
                lines += 1
                if lines % HINT_EVERY == 0:
                    console.print(_hint(running), style="dim", soft_wrap=True)
        await asyncio.sleep(POLL_S)


def _line(appeal: Appeal, *, width: int) -> Text:
    """Return one step of an appeal as columns: a narrow terminal has no room for queue and agent."""
    colours = {"registered": "cyan", "waiting": "yellow", "offered": "magenta", "assigned": "blue"}
    line = Text(f"{appeal.changed_at.astimezone():%H:%M:%S} ")
    line.append(f" {appeal.number} ", "bold")
    line.append(f" {appeal.channel.value:<8} ")
    line.append(f" {appeal.state.value:<10} ", colours.get(appeal.state.value, "green"))
    if width >= WIDE:
        line.append(f" {appeal.topic or '':<24}  {appeal.queue or '':<10}  {appeal.agent_id or '':<6} ")
    else:
        line.append(f" {appeal.agent_id or appeal.topic or '':<16.16} ")
    line.append(f" {appeal.subject}", "dim")
    line.truncate(width, overflow="ellipsis")
    return line


# ---- citizens
async def _write_appeals(city: City, rate: float, *, on_error: Callable[[str], None]) -> None:
    """Send appeals at Poisson-distributed moments, `rate` a second on average."""
    dice = random.Random()  # noqa: S311 - a simulation
    supply = {channel: _shuffled(messages_for(channel, load_demo_messages()), dice) for channel in CHANNEL_WEIGHTS}
    while True:
        await asyncio.sleep(dice.expovariate(rate))
        (channel,) = dice.choices(list(CHANNEL_WEIGHTS), weights=list(CHANNEL_WEIGHTS.values()))
        try:
            await _write(city, channel, next(supply[channel]), dice)
        except OSError as error:
            on_error(f"{channel.value}: a citizen could not write: {error}")


def _shuffled(messages: tuple[DemoMessage, ...], dice: random.Random) -> Iterator[DemoMessage]:
    while True:
        yield from dice.sample(messages, len(messages))


async def _write(city: City, channel: Channel, message: DemoMessage, dice: random.Random) -> None:
    person = dice.randrange(10_000)
    phone = f"+7921{5_550_000 + person:07d}"
    if channel is Channel.EMAIL:
        address = f"citizen{person}@citizens.example"
        await city.write_email(sender=address, name=message.sender, subject=message.subject, text=message.text)
    elif channel is Channel.SMS:
        await city.write_sms(sender=phone, text=message.text)
    elif channel is Channel.TELEGRAM:
        city.write_telegram(
            chat_id=7_000_000 + person, text=message.text, name=message.sender or "Citizen", language=message.language
        )
    elif channel is Channel.KIOSK:
        await city.write_at_kiosk(
            subject=message.subject, text=message.text, name=message.sender, language=message.language
        )
    else:
        page = f"{message.subject}\n\n{message.text}\n\n{message.sender}"
        await city.write_fax(sender=phone, pages=[page], as_tiff=dice.random() < TIFF_CHANCE)
