"""`openwit-manifest`: show, verify, split and count the datasets that openwit makes."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from manifests.base.command import run_app
from manifests.base.console import bytes_text, printable, table_text
from manifests.base.errors import ExitCode, RefusedError
from manifests.format.manifest import load
from manifests.format.records import By, Level

app = typer.Typer(
    name="openwit-manifest",
    help="Look after datasets of openwit. With --debug, an unexpected error shows where.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dataset = Annotated[str, typer.Argument(help="A dataset's folder or manifest.json: path or URI.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes; default: one per core.")]
CORES = os.cpu_count() or 1


@app.callback()
def _start() -> None:
    if not {"-h", "--help"} & set(sys.argv):
        from manifests.base.install import check_install

        check_install()


@app.command(epilog="Example: openwit-manifest show out/dataset --key 000000042")
def show(
    dataset: Dataset,
    key: Annotated[str | None, typer.Option(help="The sample with this key.")] = None,
    pair_id: Annotated[str | None, typer.Option(help="The sample of this pair.")] = None,
    url: Annotated[str | None, typer.Option(help="Samples whose image has this URL.")] = None,
    image: Annotated[str | None, typer.Option(help="Samples with the bytes of this file.")] = None,
    shard: Annotated[int | None, typer.Option(help="The first samples of this shard.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a dataset in short, or samples; exit 1 if there is no such sample."""
    from manifests.inspection.show import Wanted, find, row_lines, summary, summary_lines

    manifest = load(dataset)
    wanted = Wanted(key=key, pair_id=pair_id, url=url, image=image, shard=shard, limit=limit)
    if not wanted.anything:
        value = summary(manifest)
        _print(value, list(summary_lines(value)), as_json)
        return
    shown = find(manifest, wanted)
    lines = [line for row in shown.samples for line in row_lines(row)]
    if shown.ledger:
        lines.append("not in the dataset; the ledger says:")
        lines += [line for row in shown.ledger for line in row_lines(row)]
    _print(shown.to_json(), lines or ["not in the dataset"], as_json)
    if not shown.samples:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command(epilog="Example: openwit-manifest verify out/dataset --deep")
def verify(
    dataset: Dataset,
    fast: Annotated[bool, typer.Option("--fast", help="Existence, sizes and sums.")] = False,
    sha256: Annotated[bool, typer.Option("--sha256", help="Also every byte (default).")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also every sample.")] = False,
    expect_digest: Annotated[
        str | None, typer.Option(help="The digest that the manifest must have.")
    ] = None,
    max_findings: Annotated[int, typer.Option(min=0, help="Most findings to show.")] = 1000,
    jobs: Jobs = CORES,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare a dataset with its manifest; exit 1 if anything is not as recorded."""
    from manifests.inspection.verify import verify as run

    if fast + sha256 + deep > 1:
        raise RefusedError("--fast, --sha256, --deep: more than one: choose one")
    level: Level = "fast" if fast else "deep" if deep else "sha256"
    report = run(
        dataset,
        level,
        jobs=jobs,
        expect_digest=expect_digest,
        max_findings=max_findings,
        quiet=quiet,
    )
    lines = [
        f"{finding.path}{f' {finding.key}' if finding.key else ''}: {finding.code}: "
        f"{finding.message}" + (f" (expected {finding.expected}, found {finding.actual})"
                                if finding.expected or finding.actual else "")
        for finding in report.findings
    ]  # fmt: skip
    counted = ", ".join(f"{code} {count}" for code, count in report.by_code.items())
    lines.append(
        f"{level}: {report.shards} shards, {report.files} tables, {report.samples} samples, "
        f"{bytes_text(report.bytes)}: {counted or 'all as recorded'}"
    )
    _print(report.to_json(), lines, as_json)
    if report.by_code:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command(epilog="Example: openwit-manifest stats out/dataset --top 20")
def stats(
    dataset: Dataset,
    out: Annotated[str | None, typer.Option(help="Write the JSON document here too.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Most values of each list.")] = 50,
    memory: Annotated[str, typer.Option(help="What DuckDB may use; more goes to disk.")] = "1GiB",
    jobs: Jobs = CORES,
    as_json: AsJson = False,
) -> None:
    """Count pairs, queries, sizes, languages, formats, licences and hosts."""
    from manifests.base import storage
    from manifests.inspection.stats import stats as run

    value = run(load(dataset), top=top, memory=memory, jobs=jobs)
    if out is not None:
        storage.write_atomic(out, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
    _print(value, _stats_lines(value), as_json)


@app.command(
    epilog="Example: openwit-manifest split out/dataset --out out/splits "
    "--part train=0.9 --part test=0.1 --by host"
)
def split(
    dataset: Dataset,
    out: Annotated[str, typer.Option(help="A new folder; each part is one in it.")],
    part: Annotated[list[str], typer.Option(help="NAME=SHARE, repeated; the shares sum to 1.")],
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    by: Annotated[By, typer.Option(help="What stays together.")] = "pair_id",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cut a dataset into parts, each a dataset of its own; every pair is in exactly one."""
    from manifests.derivation.split import parse_part
    from manifests.derivation.split import split as run

    parts = [parse_part(text) for text in part]
    made = run(dataset, out, parts, seed=seed, by=by, quiet=quiet)
    value = {
        "kind": "openwit-split",
        "ok": True,
        "parts": [
            {"name": name, "path": each.root, "samples": each.samples, "digest": each.digest}
            for name, each in made.items()
        ],
    }
    lines = [f"{name}: {each.samples} samples, {each.digest}, {each.root}"
             for name, each in made.items()]  # fmt: skip
    _print(value, lines, as_json)


def _stats_lines(value: dict[str, Any]) -> list[str]:
    queries = value["queries"]
    lines = [f"{name}: {value[name]}" for name in value if name == "pairs" or "unique" in name]
    lines += [f"queries {name}: {queries[name]}" for name in queries if name not in (
        "pairs_per_query", "top")]  # fmt: skip
    tables = {"pairs per query": queries["pairs_per_query"], **value["histograms"]}
    tables |= {name: value[name] for name in ("languages", "formats", "licenses", "hosts")}
    tables["top queries"] = queries["top"]
    for name, rows in tables.items():
        if rows:
            lines += ["", name, *table_text(list(rows[0]), rows).split("\n")]
    return lines


def _print(value: dict[str, Any], lines: Sequence[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=True))
        return
    for line in lines:
        typer.echo(printable(line))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 findings, 2 refused, 3 not finished, 130 stopped."""
    sys.exit(run_app(app, "openwit-manifest", arguments))
