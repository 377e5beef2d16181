"""Sub-commands that change a dataset in place."""

import datetime
from typing import Annotated

import typer

from manifests.base.application import AsJson, show_result
from manifests.base.console import bytes_text, say
from manifests.base.errors import ExitCode, RefusedError
from manifests.commands.shared import Dataset, app
from manifests.format.manifest import load
from manifests.format.records import Reason

Values = Annotated[list[str] | None, typer.Option(help="May be repeated.")]
File = Annotated[str | None, typer.Option(help="A list, one a line.")]
UNREACHED = "not reached: copies of the dataset, and models that were trained on it"


@app.command(
    epilog="Example: openwit-manifest drop out/dataset --domain example.com --reason optout --apply"
)
def drop(
    dataset: Dataset,
    reason: Annotated[Reason, typer.Option(help="Why; goes into ledger and tombstones.")],
    pair_id: Values = None,
    pair_id_file: File = None,
    url: Values = None,
    url_file: File = None,
    domain: Values = None,
    domain_file: File = None,
    sha256: Values = None,
    sha256_file: File = None,
    phash: Values = None,
    phash_file: File = None,
    distance: Annotated[int, typer.Option(help="Bits in which --phash may differ.")] = 0,
    request: Annotated[str | None, typer.Option(help="Names the request.")] = None,
    date: Annotated[str | None, typer.Option(help="YYYY-MM-DD; default: today, UTC.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw pairs, and leave tombstones that name no URL or text."""
    from manifests.derivation.choosing.plan import plan_drop
    from manifests.derivation.choosing.selectors import Matcher, collect
    from manifests.derivation.drop import apply_drop

    selectors = collect(
        values={"pair_id": pair_id, "url": url, "domain": domain, "sha256": sha256, "phash": phash},
        files={
            "pair_id": pair_id_file,
            "url": url_file,
            "domain": domain_file,
            "sha256": sha256_file,
            "phash": phash_file,
        },
    )
    day = _day(date)
    plan = plan_drop(dataset, Matcher(selectors, distance=distance))
    value = {"kind": "openwit-drop", "ok": True, "applied": apply} | plan.to_json()
    lines = [
        f"{len(plan.rows)} rows, {plan.alternates} alternate texts of others, "
        f"{plan.examples} examples of the ledger, "
        f"{len(plan.shards)} shards, {bytes_text(plan.bytes)}"
    ]
    lines += [f"no match: {each.kind} {each.value}" for each in plan.unmatched]
    lines += [f"stale afterwards, export it again: {name}" for name in plan.stale]
    if apply:
        made = apply_drop(plan, reason=reason, date=day, request=request)
        value |= {"digest": made.digest, "revision": made.revision}
        lines += [f"done: revision {made.revision}, {made.digest}", UNREACHED]
    else:
        lines.append("nothing was changed: --apply does it")
    show_result(value, lines, as_json)


def _day(text: str | None) -> datetime.date:
    try:
        if text is not None:
            return datetime.date.fromisoformat(text)
    except ValueError:
        raise RefusedError(f"--date {text}: write YYYY-MM-DD") from None
    return datetime.datetime.now(datetime.UTC).date()


@app.command(epilog="Example: openwit-manifest gc out/dataset --apply")
def gc(
    dataset: Dataset,
    older_than: Annotated[
        str, typer.Option(help="Younger files are kept: a number and s, m, h or d.")
    ] = "24h",
    apply: Annotated[bool, typer.Option("--apply", help="Delete; else list.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List files of other names too; they are not deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find files that no manifest lists; exit 1 if some are left."""
    from manifests.derivation.gc import collect, parse_age, strays

    try:
        seconds = parse_age(older_than)
    except ValueError as error:
        raise RefusedError(f"--older-than: {error}") from None
    manifest = load(dataset)
    found = strays(manifest, older_than_seconds=seconds, everything=everything)
    gone = collect(manifest, found) if apply else []
    rows = [
        {"path": each.path, "kind": each.kind, "bytes": each.bytes, "deleted": each in gone}
        for each in found
    ]
    left = [each for each in found if each not in gone]
    lines = [
        f"{row['path']}: {row['kind']}, {row['bytes']} bytes{', deleted' * bool(row['deleted'])}"
        for row in rows
    ]
    lines.append(f"{len(found)} files, {len(gone)} deleted, {len(left)} left")
    show_result({"kind": "openwit-gc", "ok": not left, "files": rows}, lines, as_json)
    if any(each.is_young for each in left) and apply:
        say(f"some are younger than {older_than}: they may be being written")
    if left:
        raise typer.Exit(ExitCode.FINDINGS)
