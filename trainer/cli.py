"""`openwit-train`: a dataset to a trained model."""

import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from manifests.base.application import make_app
from manifests.base.command import run_app
from manifests.base.console import table_text
from manifests.base.errors import RefusedError
from trainer.distributed import speaks

app = make_app("openwit-train", "Train and evaluate a CLIP-style model.")


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
    from trainer.config import load_config
    from trainer.plan import make_plan

    plan = make_plan(load_config(target, settings or ()))
    if dry_run:
        for line in plan.lines():
            typer.echo(line)
        return
    from trainer.jobs import train

    typer.echo(train(plan, pathlib.Path(output), resume=resume, init_from=init_from))


Checkpoint = Annotated[
    str, typer.Argument(metavar="CKPT", help="A checkpoint, or a RUN for its latest one.")
]


@app.command(
    epilog="Example: openwit-train evaluate training --manifest test/manifest.json --output eval"
)
def evaluate(
    checkpoint: Checkpoint,
    manifest: Annotated[str, typer.Option(help="The dataset; one that was not trained on.")],
    output: Annotated[str, typer.Option(metavar="DIR", help="The folder for the results.")],
    classes: Annotated[
        str, typer.Option(metavar="FILE", help="Class names, one a line, or JSON; with --labels.")
    ] = "",
    templates: Annotated[
        str, typer.Option(metavar="FILE", help="Texts with {} for a class name, one a line.")
    ] = "",
    labels: Annotated[
        str, typer.Option(metavar="FILE", help="Parquet: pair_id or key, and class.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure retrieval, and zero-shot classification if there are classes, beside chance."""
    from trainer.evals.sets import EvalSet

    try:
        wanted = EvalSet(
            name="set", manifest=manifest, classes=classes, templates=templates, labels=labels
        )
    except ValueError as error:
        raise RefusedError(str(error)) from None
    from trainer.trained import evaluate as evaluate_checkpoint

    found = evaluate_checkpoint(pathlib.Path(checkpoint), wanted, output)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in evaluation_lines(found):
        typer.echo(line)


def evaluation_lines(found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the documents of an evaluation for people."""
    lines = _retrieval_lines(found["retrieval"])
    if told := found.get("zero_shot"):
        measures = ("top_1", "top_5", "mean_per_class_recall")
        rows = [
            {"zero-shot": who, **{name: f"{told[prefix + name]:.2%}" for name in measures}}
            for who, prefix in (("model", ""), ("chance", "chance_"))
        ]
        lines += ["", *table_text(["zero-shot", *measures], rows).split("\n")]
        lines += [f"n = {told['n']} of {told['classes']} classes"]
    return lines


def _retrieval_lines(result: Mapping[str, Any]) -> list[str]:
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


@app.command(
    epilog="Example: openwit-train score training --manifest out/manifest.json --output scores"
)
def score(
    checkpoint: Checkpoint,
    manifest: Annotated[str, typer.Option(help="The dataset.")],
    output: Annotated[str, typer.Option(metavar="DIR", help="For scores-<shard>.parquet.")],
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Samples that go through the model together.")
    ] = 256,
    shards: Annotated[
        str, typer.Option(metavar="A-B", help="These shards alone: a machine's share.")
    ] = "",
) -> None:
    """Score each pair: the cosine of image and text. What is scored already is not done again."""
    from trainer.trained import score as score_checkpoint

    done = score_checkpoint(pathlib.Path(checkpoint), manifest, output, batch=batch, shards=shards)
    typer.echo(f"{output}: {done['scored']} shards scored, {done['found']} were there")
    if done["missing"]:
        typer.echo(f"{len(done['missing'])} shards are missing; scores.json comes with the last")
    else:
        shares = done["summary"]["percentiles"].items()
        typer.echo("percentiles: " + ", ".join(f"{name} % {value}" for name, value in shares))


@app.command(epilog="Example: openwit-train export training --format hub --output my-model")
def export(
    checkpoint: Checkpoint,
    output: Annotated[
        str, typer.Option(metavar="PATH", help="A .safetensors file, or a folder for hub.")
    ],
    kind: Annotated[
        Literal["open_clip", "hub"],
        typer.Option("--format", help="A file of weights, or a folder with all that is needed."),
    ] = "open_clip",
    weights: Annotated[
        Literal["model", "ema"] | None,
        typer.Option(help="The trained ones or their average; the average, if there is one."),
    ] = None,
) -> None:
    """Write the model for open_clip, and print how it is loaded there."""
    from trainer.trained import export as export_checkpoint

    typer.echo(export_checkpoint(pathlib.Path(checkpoint), output, kind, weights))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code of `trainer.errors`."""
    with contextlib.ExitStack() as stack:
        if not speaks():  # of the processes that torchrun starts, one prints for all
            silence = stack.enter_context(pathlib.Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
            stack.enter_context(contextlib.redirect_stderr(silence))
        code = run_app(app, "openwit-train", arguments)
    sys.exit(code)
