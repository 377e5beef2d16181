"""Sub-commands that write a dataset down for others: exports, and the page."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from manifests.base import storage
from manifests.base.application import AsJson, show_result
from manifests.base.console import bytes_text, say
from manifests.base.errors import RefusedError
from manifests.commands.shared import CORES, Dataset, app
from manifests.format.manifest import load


@app.command(epilog="Example: openwit-manifest export out/dataset hf-card")
def export(
    dataset: Dataset,
    kind: Annotated[
        str,
        typer.Argument(
            help="blocklist, croissant, datacomp-npy, hf-card, sha256sums, sizes or wids."
        ),
    ],
    out: Annotated[str | None, typer.Option(help="A folder; default: the dataset's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a file that another tool reads."""
    from manifests.export import export as run

    written = run(load(dataset), kind, out=out, force=force)
    for warning in written.warnings:
        say(f"warning: {warning}")
    value = {"kind": "openwit-export", "ok": True, "paths": list(written.paths)}
    value["warnings"] = list(written.warnings)
    show_result(value, written.paths, as_json)


@app.command(epilog="Example: openwit-manifest report out/dataset --out report.html")
def report(
    dataset: Dataset,
    out: Annotated[str, typer.Option(help="The page.")] = "report.html",
    stages: Annotated[
        str | None, typer.Option(help="ROOT/stages of the run, for images that were dropped.")
    ] = None,
    training: Annotated[
        str | None, typer.Option(help="A folder of openwit-train, for its curves.")
    ] = None,
    stats: Annotated[
        str | None, typer.Option(help="What `stats --out` wrote, else it is counted now.")
    ] = None,
    gallery: Annotated[int, typer.Option(help="How many samples are shown.")] = 60,
    no_blur: Annotated[bool, typer.Option("--no-blur", help="Show images at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows what was kept, what was dropped and why; it needs no network."""
    from manifests.inspection.stats import stats as count
    from manifests.report.page import write_report

    manifest = load(dataset)

    def statistics() -> Mapping[str, Any]:
        return count(manifest, jobs=CORES) if stats is None else _read_stats(stats, manifest.digest)

    page = write_report(
        manifest,
        out,
        stats=statistics,
        stages=stages,
        training=training,
        pictures=gallery,
        blur=not no_blur,
    )
    value = {"kind": "openwit-report", "ok": True, "path": out, "bytes": len(page.html)}
    value["left_out"] = list(page.left_out)
    lines = [f"{out}: {bytes_text(len(page.html))}"]
    lines += [f"left out: {title}" for title in page.left_out]
    show_result(value, lines, as_json)


def _read_stats(path: str, digest: str) -> Mapping[str, Any]:
    try:
        with storage.open_read(path) as file:
            value: Mapping[str, Any] = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise RefusedError(f"--stats {path}: cannot be read: {error}") from None
    if value.get("kind") != "openwit-stats" or value.get("digest") != digest:
        raise RefusedError(f"--stats {path}: of another dataset: run stats --out again")
    return value
