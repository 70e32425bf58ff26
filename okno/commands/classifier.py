"""`okno classifier`: train, measure and try the topic model."""

from pathlib import Path
from typing import Annotated

import typer

from classifier.commands import evaluate_model, predict_texts, train_model
from okno.commands.common import ConfigFile, Json, load
from okno.output import print_json, print_lines, print_table, progress

MAX_CONFUSIONS_SHOWN = 10

app = typer.Typer(help="Train, measure and try the topic model.", no_args_is_help=True, add_completion=False)

ModelFile = Annotated[Path | None, typer.Option(help="Model file; else the one `okno run` uses.", show_default=False)]


@app.command("train")
def train(
    *,
    data: Annotated[Path | None, typer.Option(help="CSV or JSONL with text and topic; else Okno's own texts.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to save the model; else where `okno run` looks.")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if a fresh model is there.")] = False,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Train a model on labelled texts."""
    report = train_model(load(config).settings, data=data, out=out, if_missing=if_missing, progress=progress)
    if as_json:
        print_json(report)
    elif report.trained:
        print_lines(f"trained in {report.seconds:.1f} s: {report.path}")
    else:
        print_lines(f"fresh: {report.path}")


@app.command("evaluate")
def evaluate(
    *,
    data: Annotated[Path | None, typer.Option(help="CSV or JSONL with text and topic; else Okno's held-out.")] = None,
    model: ModelFile = None,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Measure a model on labelled texts it has not seen."""
    found = evaluate_model(load(config).settings, data=data, model=model, progress=progress)
    if as_json:
        print_json(found)
        return
    print_lines(
        f"{found.rows} texts: accuracy {found.accuracy:.3f}, macro-F1 {found.macro_f1:.3f}, "
        f"right within three {found.top_3:.3f}, calibration error {found.calibration_error:.3f}",
        f"at threshold {found.threshold:.2f}: {found.coverage:.0%} are not sent to triage, "
        f"{found.accuracy_above:.3f} of these are right",
    )
    rows = [(item.truth, item.guess, item.rows) for item in found.confusions[:MAX_CONFUSIONS_SHOWN]]
    print_table("Most frequent confusions", ("is", "taken for", "texts"), rows)


@app.command("predict")
def predict(
    texts: Annotated[list[str], typer.Argument(help="What a citizen wrote.")],
    *,
    model: ModelFile = None,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Say what the model makes of some texts."""
    predictions = predict_texts(load(config).settings, texts, model=model, progress=progress)
    if as_json:
        print_json(predictions)
        return
    rows = [
        (item.topic, f"{item.confidence:.2f}", item.language, item.priority, text)
        for text, item in zip(texts, predictions, strict=True)
    ]
    print_table("Predictions", ("topic", "confidence", "language", "priority", "text"), rows)
