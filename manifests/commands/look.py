"""Sub-commands that look at datasets and change nothing."""

import json
from typing import Annotated, Any

import typer

from manifests.base.application import AsJson, show_result
from manifests.base.console import bytes_text, table_text
from manifests.base.errors import ExitCode, RefusedError
from manifests.commands.shared import CORES, Dataset, Jobs, Quiet, app
from manifests.format.manifest import load
from manifests.format.records import Level


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
        show_result(value, list(summary_lines(value)), as_json)
        return
    shown = find(manifest, wanted)
    lines = [line for row in shown.samples for line in row_lines(row)]
    if shown.ledger:
        lines.append("not in the dataset; the ledger says:")
        lines += [line for row in shown.ledger for line in row_lines(row)]
    if shown.tombstones:
        lines.append("withdrawn from the dataset; the tombstones say:")
        lines += [line for row in shown.tombstones for line in row_lines(row)]
    show_result(shown.to_json(), lines or ["not in the dataset"], as_json)
    if not shown.samples:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command(epilog="Example: openwit-manifest verify out/dataset --deep")
def verify(
    dataset: Dataset,
    fast: Annotated[bool, typer.Option("--fast", help="Existence, sizes and sums.")] = False,
    sha256: Annotated[bool, typer.Option("--sha256", help="Also every byte (default).")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also every sample.")] = False,
    hashes: Annotated[bool, typer.Option("--hashes", help="Also perceptual hashes.")] = False,
    shards: Annotated[str | None, typer.Option(help="Only shards A-B.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many shards.")] = None,
    state: Annotated[
        str | None, typer.Option(help="A file that lets an interrupted run go on.")
    ] = None,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Read files that are links to files.")
    ] = False,
    expect_digest: Annotated[
        str | None, typer.Option(help="The digest that the manifest must have.")
    ] = None,
    max_findings: Annotated[int, typer.Option(min=0, help="Most findings to show.")] = 1000,
    jobs: Jobs = CORES,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare a dataset with its manifest; exit 1 if anything is not as recorded."""
    from manifests.inspection.verify import Selection, parse_range
    from manifests.inspection.verify import verify as run

    levels: dict[Level, bool] = {"fast": fast, "sha256": sha256, "deep": deep, "hashes": hashes}
    asked = [name for name, is_asked in levels.items() if is_asked]
    if len(asked) > 1:
        raise RefusedError(f"--{', --'.join(asked)}: more than one level: choose one")
    level = asked[0] if asked else "sha256"
    first, last = parse_range(shards) if shards else (0, None)
    select = Selection(first=first, last=last, sample=sample, follow_links=follow_symlinks)
    report = run(
        dataset,
        level,
        select=select,
        jobs=jobs,
        expect_digest=expect_digest,
        state=state,
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
    show_result(report.to_json(), lines, as_json)
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
    """Count pairs, queries, sizes, languages, formats, licences and domains."""
    from manifests.base import storage
    from manifests.inspection.stats import stats as run

    value = run(load(dataset), top=top, memory=memory, jobs=jobs)
    if out is not None:
        storage.write_atomic(out, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
    show_result(value, _stats_lines(value), as_json)


@app.command(epilog="Example: openwit-manifest provenance out/dataset")
def provenance(
    dataset: Dataset,
    pair_id: Annotated[str | None, typer.Option(help="Of this pair alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say where a dataset, or one pair of it, came from; exit 1 if there is no such pair."""
    from manifests.inspection.provenance import of_dataset, of_pair, provenance_lines

    manifest = load(dataset)
    value = of_dataset(manifest) if pair_id is None else of_pair(manifest, pair_id)
    lines = list(provenance_lines(value))
    show_result(value, lines if value["ok"] else [*lines, "not in the dataset"], as_json)
    if not value["ok"]:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command(epilog="Example: openwit-manifest diff out/dataset out2/dataset --out changes.parquet")
def diff(
    left: Dataset,
    right: Dataset,
    out: Annotated[
        str | None, typer.Option(help="A Parquet file: a row for each pair that differs.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Compare these alone: NAME,NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two datasets: settings, libraries, pairs; exit 1 if they differ."""
    from manifests.inspection.diff import diff as run
    from manifests.inspection.diff import diff_lines

    wanted = [name.strip() for name in columns.split(",")] if columns else None
    found = run(load(left), load(right), columns=wanted, out=out)
    show_result(found.to_json(), list(diff_lines(found)), as_json)
    if not found.is_empty:
        raise typer.Exit(ExitCode.FINDINGS)


def _stats_lines(value: dict[str, Any]) -> list[str]:
    queries = value["queries"]
    lines = [f"{name}: {value[name]}" for name in value if name == "pairs" or "unique" in name]
    lines += [f"queries {name}: {queries[name]}" for name in queries if name not in (
        "pairs_per_query", "top")]  # fmt: skip
    tables = {"pairs per query": queries["pairs_per_query"], **value["histograms"]}
    tables |= {name: value[name] for name in ("languages", "formats", "licenses", "domains")}
    tables["top queries"] = queries["top"]
    for name, rows in tables.items():
        if rows:
            lines += ["", name, *table_text(list(rows[0]), rows).split("\n")]
    return lines
