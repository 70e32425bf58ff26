"""`okno kiosk`: the kiosks, their keys, and how they are. Changes hold at once, also in a running daemon."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer

from appeals.cursors import RegistryCursors
from config.settings import Settings
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.enrolment import EnrolmentCode, KioskAdministration
from connectors.kiosk.health import KioskHealthBook, KioskView
from okno.bootstrap import connectors_key, opened_registry
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.data_folder import prepare_data_folder
from okno.output import print_json, print_lines, print_table
from okno.secret_key import load_secret_key

T = TypeVar("T")
Act = Callable[[KioskAdministration, KioskDevices, KioskHealthBook, Any], Awaitable[T]]

app = typer.Typer(
    help="Kiosks: add, enrol, rotate keys, revoke, see how they are.", no_args_is_help=True, add_completion=False
)

KioskId = Annotated[str, typer.Argument(help="The kiosk's id, as in its hook's address.", metavar="KIOSK")]
OverlapDays = Annotated[float, typer.Option(min=0, help="Old keys open for so long: the kiosk may be offline.")]


@app.command("add")
def add(
    kiosk_id: KioskId,
    *,
    name: Annotated[str, typer.Option(help="What agents see, such as the hall's name.")] = "",
    address: Annotated[str, typer.Option(help="Where it stands; its appeals are from there.")] = "",
    page: Annotated[
        bool, typer.Option("--page/--own-software", help="Our kiosk page, or a maker's own software.")
    ] = True,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Add a kiosk. For our page a code to type in there is printed, for a maker's software the secret."""
    settings = load(config, data).settings

    async def act(office: KioskAdministration, *_: Any) -> EnrolmentCode | str:
        await office.add(kiosk_id, name=name, address=address)
        return await office.enrol(kiosk_id) if page else (await office.rotate(kiosk_id)).text

    given = _run(settings, act)
    if isinstance(given, EnrolmentCode):
        _print_code(given, as_json=as_json)
    else:
        _print_secret(kiosk_id, given, as_json=as_json)


@app.command("enrol")
def enrol(
    kiosk_id: KioskId,
    *,
    hours: Annotated[float, typer.Option(min=0.01, help="The code is good for so long.")] = 24.0,
    retire_days: Annotated[
        float | None, typer.Option("--retire-days", min=0, help="End the keys there are after so long: a rotation.")
    ] = None,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Print a code with which one kiosk page gets a key, once."""
    retire = None if retire_days is None else timedelta(days=retire_days)
    code = _run(
        load(config, data).settings,
        lambda office, *_: office.enrol(kiosk_id, life=timedelta(hours=hours), retire=retire),
    )
    _print_code(code, as_json=as_json)


@app.command("rotate")
def rotate(
    kiosk_id: KioskId,
    *,
    overlap_days: OverlapDays = 7.0,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Print a new secret for a maker's software. Keys there were open for some days more, then never again."""
    key = _run(
        load(config, data).settings,
        lambda office, *_: office.rotate(kiosk_id, overlap=timedelta(days=overlap_days)),
    )
    _print_secret(kiosk_id, key.text, as_json=as_json)


@app.command("revoke")
def revoke(kiosk_id: KioskId, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Shut a kiosk out, at once. What it has delivered stays."""
    _run(load(config, data).settings, lambda office, *_: office.revoke(kiosk_id))
    print_json({"id": kiosk_id, "revoked": True}) if as_json else print_lines(f"{kiosk_id} is shut out.")


@app.command("reinstate")
def reinstate(kiosk_id: KioskId, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Let a revoked kiosk in again, with the keys of before."""
    _run(load(config, data).settings, lambda office, *_: office.reinstate(kiosk_id))
    print_json({"id": kiosk_id, "revoked": False}) if as_json else print_lines(f"{kiosk_id} is let in again.")


@app.command("list")
def list_kiosks(*, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """List kiosks and how they are."""

    async def act(_: Any, devices: KioskDevices, book: KioskHealthBook, now: Any) -> tuple[KioskView, ...]:
        return await book.view(await devices.all(now=now), now=now)

    views = _run(load(config, data).settings, act)
    if as_json:
        print_json(list(views))
        return
    columns = ("id", "name", "state", "seen", "stored", "keys", "troubles")
    rows = [
        (view.id, view.name, view.state, view.seen_at, view.stored_forms, " ".join(view.keys), "; ".join(view.troubles))
        for view in views
    ]
    print_table(f"Kiosks: {len(views)}", columns, rows)


def _run(settings: Settings, act: "Act[T]") -> T:
    """Open the registry and act on its kiosks."""
    prepare_data_folder(settings.data_dir)
    signing_key = connectors_key(load_secret_key(settings))

    async def main() -> T:
        async with opened_registry(settings) as registry:
            cursors, now = RegistryCursors(registry), registry.now()
            devices = KioskDevices(settings.kiosk, cursors, signing_key=signing_key)
            book = KioskHealthBook(cursors, silent_after=timedelta(seconds=settings.kiosk.silent_after_s))
            office = KioskAdministration(devices, cursors, signing_key=signing_key, now=now)
            return await act(office, devices, book, now)

    return run(main())


def _print_code(code: EnrolmentCode, *, as_json: bool) -> None:
    if as_json:
        print_json(code)
        return
    print_lines(
        f"Code for {code.kiosk_id}: {code.code}",
        f"Open /kiosk/ on the kiosk and type it in, once, before {code.expires_at.astimezone():%Y-%m-%d %H:%M}.",
    )


def _print_secret(kiosk_id: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"kiosk_id": kiosk_id, "secret": secret})
        return
    print_lines(f"Secret of {kiosk_id} (Standard Webhooks; it is not shown again):", secret)
