"""`openwit-train`: a dataset to a trained model."""

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from manifests.base.command import run_app
from manifests.base.console import table_text

app = typer.Typer(
    name="openwit-train",
    help="Train and evaluate a CLIP-style model. With --debug, an unexpected error shows where.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _start() -> None:
    if not {"-h", "--help"} & set(sys.argv):
        from manifests.base.install import check_install

        check_install()


@app.command(epilog="Example: openwit-train run config.toml --output training")
def run(
    target: Annotated[
        str, typer.Argument(help="A TOML file, of which [train] is read, or a manifest.json.")
    ],
    output: Annotated[str, typer.Option(metavar="RUN", help="The folder for all results.")],
    resume: Annotated[
        str,
        typer.Option(metavar="auto|never|PATH", help="Go on from RUN's latest checkpoint, or not."),
    ] = "auto",
    init_from: Annotated[
        str, typer.Option(metavar="CKPT", help="Begin with the weights of this checkpoint.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TRAIN.A=VALUE", help="Set one setting; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, print settings and steps, write nothing.")
    ] = False,
) -> None:
    """Train. Killed? Run the same command again: it goes on from the latest checkpoint."""
    from trainer.config import load_config, make_plan

    plan = make_plan(load_config(target, settings or ()))
    if dry_run:
        for line in plan.lines():
            typer.echo(line)
        return
    from trainer.jobs import train

    typer.echo(train(plan, pathlib.Path(output), resume=resume, init_from=init_from))


@app.command(
    epilog="Example: openwit-train evaluate training --manifest test/manifest.json --output eval"
)
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="A checkpoint, or a RUN for its latest one.")
    ],
    manifest: Annotated[str, typer.Option(help="The dataset; one that was not trained on.")],
    output: Annotated[str, typer.Option(metavar="DIR", help="For retrieval.json.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure retrieval: recall at 1, 5, 10 and ranks, both ways, beside what chance gives."""
    from trainer.jobs import evaluate as evaluate_checkpoint

    result = evaluate_checkpoint(pathlib.Path(checkpoint), manifest, output)
    if as_json:
        typer.echo(json.dumps(result))
        return
    for line in retrieval_lines(result):
        typer.echo(line)


def retrieval_lines(result: dict[str, Any]) -> list[str]:
    """Return the result of a retrieval for people."""
    measures = {f"R@{k}": f"at_{k}" for k in (1, 5, 10)}
    rows: list[dict[str, object]] = []
    for direction in ("image_to_text", "text_to_image"):
        values = result[direction]
        for who, prefix in (("model", "recall_"), ("chance", "chance_")):
            shares = {name: f"{values[prefix + key]:.2%}" for name, key in measures.items()}
            rank = values["median_rank" if who == "model" else "chance_median_rank"]
            rows.append(
                {"direction": direction.replace("_", " "), "": who, **shares, "median rank": rank}
            )
    bad = ", ".join(f"{reason} {count}" for reason, count in result["bad"].items())
    return [
        *table_text(["direction", "", *measures, "median rank"], rows).split("\n"),
        f"n = {result['n']}" + (f"; left out: {bad}" if bad else ""),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code of `trainer.errors`."""
    sys.exit(run_app(app, "openwit-train", arguments))
