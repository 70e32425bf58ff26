"""`okno demo`: a daemon in a small city."""

from pathlib import Path
from typing import Annotated

import typer

from okno.commands.common import run
from okno.demo import DemoOptions, run_demo

app = typer.Typer(add_completion=False)


@app.command("demo")
def demo(
    *,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Appeals a second, over all channels.")] = 0.5,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Send nothing by itself.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="HTTP port of the console; 0: any free ones, for mail too.")
    ] = 8080,
    data: Annotated[Path, typer.Option(help="Data folder of the demo; kept for the next time.")] = Path(
        "okno-data/demo"
    ),
) -> None:
    """Run everything on embedded defaults, with citizens who write on every channel. Ctrl-C stops it."""
    run(run_demo(DemoOptions(rate=rate, traffic=not no_traffic, port=port, data=data)))
