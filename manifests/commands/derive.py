"""Sub-commands that make a new dataset out of others."""

from typing import Annotated

import typer

from manifests.base.application import AsJson, show_result
from manifests.base.console import say
from manifests.base.errors import ExitCode, RefusedError
from manifests.commands.shared import Dataset, Out, Quiet, Seed, app
from manifests.format.manifest import Manifest
from manifests.format.records import By, From, OnDuplicate


@app.command(epilog="Example: openwit-manifest build out/dataset --from records")
def build(
    folder: Annotated[str, typer.Argument(help="The folder that holds the shards.")],
    from_: Annotated[From, typer.Option("--from", help="What they are.")],
    out: Annotated[
        str | None, typer.Option(help="A new folder: copy the samples into our layout.")
    ] = None,
    caption: Annotated[
        str, typer.Option(help="txt, or json:FIELD; default: txt, else the JSON's caption.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the dataset.")] = "openwit",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a manifest for shards that have none; no tar is changed.

    Exit 1 if samples are left out.
    """
    from manifests.derivation.build import from_records
    from manifests.derivation.foreign.build import from_foreign

    if from_ == "records":
        if out is not None:
            raise RefusedError("--out: shards of openwit get their manifest back in place")
        built = from_records(folder, name=name)
    else:
        built = from_foreign(folder, from_, out=out, caption=caption, name=name, quiet=quiet)
    made, is_whole = built.manifest, not built.skipped and not built.truncated
    value = {"kind": "openwit-build", "ok": is_whole, "shards": len(made.shards)} | _made(made)
    value |= {"skipped": dict(built.skipped), "truncated": list(built.truncated)}
    lines = [f"{len(made.shards)} shards, {made.samples} samples, {made.digest}"]
    lines += [f"skipped: {reason} {count}" for reason, count in built.skipped.items()]
    lines += [f"ends too early: {path}" for path in built.truncated]
    show_result(value, lines, as_json)
    if not is_whole:
        raise typer.Exit(ExitCode.FINDINGS)


def _made(manifest: Manifest) -> dict[str, object]:
    return {"path": manifest.root, "samples": manifest.samples, "digest": manifest.digest}


@app.command(
    epilog="Example: openwit-manifest split out/dataset --out out/splits "
    "--part train=0.9 --part test=0.1 --by host"
)
def split(
    dataset: Dataset,
    out: Annotated[str, typer.Option(help="A new folder; each part is one in it.")],
    part: Annotated[list[str], typer.Option(help="NAME=SHARE, repeated; the shares sum to 1.")],
    seed: Seed = 0,
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
    show_result(value, lines, as_json)


@app.command(
    epilog="Example: openwit-manifest merge a/dataset b/dataset --out merged --on-duplicate first"
)
def merge(
    datasets: Annotated[list[str], typer.Argument(help="Two datasets or more.")],
    out: Out,
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="What to do with a pair id in two of them.")
    ] = "error",
    union_queries: Annotated[
        bool, typer.Option("--union-queries", help="Make one list of different queries.")
    ] = False,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Let columns be null that one has not.")
    ] = False,
    allow_config_difference: Annotated[
        bool, typer.Option("--allow-config-difference", help="Let settings differ.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join datasets by pair id. Near-duplicates between them stay."""
    from manifests.derivation.merge import merge as run

    made, given = run(
        datasets,
        out,
        on_duplicate=on_duplicate,
        union_queries=union_queries,
        fill_missing=fill_missing,
        allow_config_difference=allow_config_difference,
        quiet=quiet,
    )
    rows = [{"path": path, "rows": count} for path, count in zip(datasets, given, strict=True)]
    value = {"kind": "openwit-merge", "ok": True, "sources": rows} | _made(made)
    lines = [f"{row['path']}: {row['rows']} rows" for row in rows]
    lines.append(f"{made.samples} samples, {made.digest}, {made.root}")
    lines.append("near-duplicates between the datasets are kept: only equal pair ids are one pair")
    show_result(value, lines, as_json)


@app.command(epilog="Example: openwit-manifest sample out/dataset --n 1000 --out out/small")
def sample(
    dataset: Dataset,
    out: Annotated[str | None, typer.Option(help="A new folder for the dataset.")] = None,
    fraction: Annotated[str | None, typer.Option(help="The share of the pairs.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many pairs.")] = None,
    seed: Seed = 0,
    list_only: Annotated[str | None, typer.Option(help="Write just their ids, here.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw pairs by a keyed hash of their ids; a smaller draw is a part of a larger one."""
    from manifests.derivation.copying.listing import target
    from manifests.derivation.sample import sample as run

    path, is_list = target(out, list_only)
    count, made = run(
        dataset, path, fraction=fraction, count=n, seed=seed, list_only=is_list, quiet=quiet
    )
    if n is not None and count < n:
        say(f"warning: --n {n}: the dataset has {count} pairs: all are taken")
    value = {"kind": "openwit-sample", "ok": True, "samples": count, "path": path}
    value |= {} if made is None else _made(made)
    show_result(value, [f"{count} samples, {made.digest if made else 'ids'}, {path}"], as_json)


@app.command("filter", epilog="Example: openwit-manifest filter out/dataset --out out/large "
             "--where 'least(width, height) >= 512'")  # fmt: skip
def filter_(
    dataset: Dataset,
    out: Annotated[str | None, typer.Option(help="A new folder for the dataset.")] = None,
    where: Annotated[
        str | None, typer.Option(help="An SQL expression over the columns of a sample.")
    ] = None,
    ids: Annotated[
        str | None, typer.Option(help="Pair ids: text, Parquet or DataComp's npy.")
    ] = None,
    with_: Annotated[
        str | None,
        typer.Option("--with", help="Parquet, or a folder of it: pair_id and columns for --where."),
    ] = None,
    exclude: Annotated[bool, typer.Option("--exclude", help="Keep the others.")] = False,
    list_only: Annotated[str | None, typer.Option(help="Write just their ids, here.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Keep the pairs of which an expression is true, or that a file lists."""
    from manifests.derivation.copying.listing import target
    from manifests.derivation.filter import filter_dataset

    path, is_list = target(out, list_only)
    done = filter_dataset(
        dataset,
        path,
        where=where,
        ids=ids,
        extra=with_,
        exclude=exclude,
        list_only=is_list,
        quiet=quiet,
    )
    counts = {"rows_in": done.rows_in, "rows_out": done.rows_out, "not_found": done.not_found}
    value = {"kind": "openwit-filter", "ok": True, "path": path} | counts
    value |= {} if done.dataset is None else _made(done.dataset)
    line = f"{done.rows_in} rows in, {done.rows_out} out, {done.not_found} ids not found, {path}"
    show_result(value, [line], as_json)
