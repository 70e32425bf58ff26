"""`okno bench`: figures measured in one run, beside the limit measured in the same run."""

from pathlib import Path
from typing import Annotated

import typer

from okno.benchmark.ingest import IngestResult, bench_ingest
from okno.benchmark.parse import KindResult, bench_parse
from okno.commands.common import Json, run
from okno.output import print_json, print_lines, progress
from router.benchmark import run_route_benchmark

INGEST_GOAL, END_TO_END_GOAL = 0.5, 0.3  # of what a bare aiosmtpd accepts

app = typer.Typer(
    help="Figures measured in one run, beside the limit measured in the same run.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("ingest")
def ingest(
    *,
    messages: Annotated[int, typer.Option(min=100, help="Mails of 2 kB a measurement.")] = 10_000,
    connections: Annotated[int, typer.Option(min=1)] = 50,
    paced: Annotated[float, typer.Option(min=1, help="Mails a second while latencies are measured.")] = 50.0,
    as_json: Json = False,
) -> None:
    """Measure from SMTP to durable registration, and from SMTP 250 to the agent's websocket."""
    result = run(bench_ingest(messages=messages, connections=connections, paced_per_s=paced, progress=progress))
    if as_json:
        print_json(result)
        return
    print_lines(
        f"limit            {result.limit_per_s:8,.0f} messages/s  (bare aiosmtpd that only counts)",
        f"limit on uvloop  {result.uvloop_limit_per_s:8,.0f} messages/s  (the same, on the event loop Okno runs on)",
        f"registered       {result.messages_per_s:8,.0f} messages/s  "
        f"ratio {result.ratio:.2f} (on uvloop {result.uvloop_ratio:.2f})",
        f"on the screen    {result.end_to_end_per_s:8,.0f} messages/s  ratio {result.end_to_end_ratio:.2f}",
        f"250 to websocket at {result.paced_per_s:.0f}/s: p50 {result.p50_ms:.0f} ms, p99 {result.p99_ms:.0f} ms",
        *_profile_lines(result),
    )


def _profile_lines(result: IngestResult) -> list[str]:
    """Say where the time goes if a goal is missed."""
    if result.ratio >= INGEST_GOAL and result.end_to_end_ratio >= END_TO_END_GOAL:
        return []
    goals = (
        f"goals: {INGEST_GOAL} of the limit registered, {END_TO_END_GOAL} on the screen; missed. Where the time goes:"
    )
    return ["", goals, *(f"  {share:4.0%}  {stage}" for stage, share in result.profile.items())]


@app.command("parse")
def parse(
    *,
    mails: Annotated[int, typer.Option(min=1, help="Mails of each kind.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How often each parser reads them all.")] = 7,
    seed: Annotated[int, typer.Option(help="The same seed makes the same mails.")] = 1,
    corpus: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder of .eml files to read instead of mails made up."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure mails a second through parsing and cleaning, beside email.policy.default alone."""
    result = bench_parse(mails=mails, rounds=rounds, seed=seed, corpus=corpus, progress=progress)
    if as_json:
        print_json(result)
        return
    print_lines(
        "mails a second of processor time; okno decodes, cleans, detects types and builds the envelope,",
        "default is email.policy.default alone, read is the same with its fields, text and files read",
        f"{'kind':32} {'mails':>6} {'bytes':>8} {'okno':>8} {'default':>8} {'read':>8} {'compat32':>9}  ratio",
        *(_parse_line(kind, figures) for kind, figures in result.kinds.items()),
        _parse_line("all of them", result.whole),
    )


def _parse_line(kind: str, figures: KindResult) -> str:
    return (
        f"{kind[:32]:32} {figures.mails:6} {figures.mean_bytes:8,} {figures.okno_per_s:8,.0f} "
        f"{figures.default_per_s:8,.0f} {figures.default_read_per_s:8,.0f} {figures.compat32_per_s:9,.0f}  "
        f"{figures.ratio:.2f} ({figures.ratio_low:.2f} to {figures.ratio_high:.2f})"
    )


@app.command("route")
def route(
    *,
    agents: Annotated[int, typer.Option(min=1)] = 1_000,
    skills: Annotated[int, typer.Option(min=1)] = 50,
    waiting: Annotated[int, typer.Option(min=100, help="Appeals that wait while it is measured.")] = 10_000,
    as_json: Json = False,
) -> None:
    """Measure decisions a second on the matching core, records included, and how that changes with the load."""
    progress(
        f"{agents} agents, {skills} skills; {waiting // 10}, {waiting} and {waiting * 10} waiting, one after another"
    )
    result = run_route_benchmark(agents=agents, skills=skills, waiting=waiting)
    if as_json:
        print_json(result)
        return
    print_lines(*(f"{name:28} {value:>14,.3f}" for name, value in result.items()))
