"""`okno explain`: why an appeal went where it did."""

from typing import Annotated, Literal

import typer

from okno.bootstrap import existing_registry
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.output import print_json, print_lines
from router.explain import Explanation
from router.explain import explain as explain_decisions

app = typer.Typer(add_completion=False)


@app.command("explain")
def explain(
    number: Annotated[str, typer.Argument(help="The appeal's number.")],
    *,
    language: Annotated[str | None, typer.Option(help="ru or en; else the office's.")] = None,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Tell why an appeal went where it did: rule, candidates, exclusions, scores, each computed again."""
    settings = load(config, data).settings
    words: Literal["ru", "en"] = "en" if (language or settings.office.language) == "en" else "ru"

    async def main() -> Explanation:
        async with existing_registry(settings) as registry:
            appeal = await registry.appeal_by_number(number)
            return explain_decisions(appeal, await registry.decisions(appeal.id), words)

    explanation = run(main())
    if as_json:
        print_json(explanation.to_json())
    elif not explanation.decisions:
        print_lines(f"{explanation.number}: the router has not decided anything about it yet")
    else:
        print_lines(explanation.number, explanation.text().rstrip())
