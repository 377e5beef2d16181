"""`openwit-pipeline`: web archives to a dataset."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from filters.queries.match_form import Case
from filters.queries.matcher import Mode
from manifests.base.application import AsJson, Settings, group, make_app, show_result
from manifests.base.command import run_app
from manifests.base.console import table_text

app = make_app("openwit-pipeline", "Web archives to an image-text dataset.")
queries = group("Query lists: build one, look for queries that cannot match, show what is in one.")
hashes = group(
    "Hash files of evaluation sets, block lists and published datasets, for stage dedup."
)
inputs = group("Where archives are to be had.")
for each, name in ((queries, "queries"), (hashes, "hashes"), (inputs, "inputs")):
    app.add_typer(each, name=name)

Config = Annotated[str, typer.Argument(help="The run's configuration, a TOML file.")]
Force = Annotated[str, typer.Option(metavar="STAGE", help="Do this stage again from its start.")]
ArchiveKind = Literal["warc", "wat"]
ListFile = Annotated[str, typer.Argument(help="A list: Parquet, JSON array, or one query a line.")]
MatchMode = Annotated[Mode, typer.Option(help="How the list will be matched.")]
MatchCase = Annotated[Case, typer.Option(help="Whether upper and lower case differ.")]
BeamOptions = Annotated[
    list[str] | None, typer.Argument(metavar="-- BEAM OPTIONS", help="Passed on to Beam.")
]


@app.command(epilog="Example: openwit-pipeline run config.toml --set select.cap=1000")
def run(
    config: Config,
    beam: BeamOptions = None,
    until: Annotated[str, typer.Option(metavar="STAGE", help="Stop after this stage.")] = "",
    force: Force = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, print the plan, write nothing.")
    ] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run all stages; what is done already is kept. Killed? Run the same command again."""
    from pipeline.config import load_config
    from pipeline.engine.options import parse_beam_options
    from pipeline.workflow import make_plan, run_stages

    loaded = load_config(config, settings or ())
    options = parse_beam_options(beam or ())
    if dry_run:
        _print_plan(make_plan(loaded, until=until, with_samples=True).to_json(), as_json)
        return
    _print_outcome(run_stages(loaded, options=options, until=until, force=force), as_json)


@app.command(epilog="Example: openwit-pipeline plan config.toml --json")
def plan(config: Config, settings: Settings = None, as_json: AsJson = False) -> None:
    """Say what a run would do and cost, and where each number comes from; exit 2 if it cannot."""
    from pipeline.config import load_config
    from pipeline.workflow import make_plan

    made = make_plan(load_config(config, settings or ()), with_samples=True)
    _print_plan(made.to_json(), as_json)
    made.refuse()


@app.command(epilog="Example: openwit-pipeline crawl config.toml --set crawl.rounds=2")
def crawl(
    config: Config,
    beam: BeamOptions = None,
    force: Annotated[bool, typer.Option("--force", help="Begin again.")] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Visit pages from the seeds on and record them as WARC. Killed? Run the same command again."""
    from pipeline.config import load_config
    from pipeline.crawled import run_crawl
    from pipeline.engine.options import parse_beam_options

    options = parse_beam_options(beam or ())
    loaded = load_config(config, settings or ())
    made = run_crawl(loaded, options=options, force=force)
    lines = [
        f"round {each['round']}: {each['visited']:,} visited"
        + "".join(f", {reason} {count:,}" for reason, count in each["drops"].items())
        for each in made["rounds"]
    ]
    lines += [
        f"{len(made['archives'])} archives, {made['bytes']:,} bytes",
        f"{loaded.root}/stages/crawl-r*/part-*.warc.gz; `run` of the same file reads them",
    ]
    show_result(made, lines, as_json)


@app.command(epilog="Example: openwit-pipeline stage dedup config.toml --force dedup")
def stage(
    name: Annotated[str, typer.Argument(help="The stage to run.")],
    config: Config,
    beam: BeamOptions = None,
    force: Force = "",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run one stage on what the stages before it have committed."""
    from pipeline.config import load_config
    from pipeline.engine.options import parse_beam_options
    from pipeline.workflow import run_stages

    loaded = load_config(config, settings or ())
    options = parse_beam_options(beam or ())
    _print_outcome(run_stages(loaded, options=options, until=name, force=force, only=name), as_json)


@queries.command(epilog="Example: openwit-pipeline queries build config.toml --out list.parquet")
def build(
    config: Config,
    out: Annotated[str, typer.Option(help="The Parquet file to write.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 is one per core.")] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Build a list from the inputs that the table [queries] names."""
    from pipeline.config import load_queries
    from pipeline.queries.build import build_list

    made = build_list(load_queries(config, settings or ()), out, workers)
    show_result(
        {"kind": "openwit-queries-build", "out": out, **made.metadata}, made.lines(), as_json
    )


@queries.command(epilog="Example: openwit-pipeline queries check list.parquet --texts texts.txt")
def check(
    file: ListFile,
    mode: MatchMode = "openwit",
    case: MatchCase = "sensitive",
    texts: Annotated[str, typer.Option(help="Texts, one a line, to count dead queries.")] = "",
    as_json: AsJson = False,
) -> None:
    """Name queries that can never match or stand for one another; exit 1 if there are any."""
    from pipeline.queries.check import check_list

    report = check_list(file, mode, case, texts)
    show_result({"kind": "openwit-queries-check", **report.to_json()}, report.lines(), as_json)
    raise typer.Exit(report.exit_code)


@queries.command(epilog='Example: openwit-pipeline queries show list.parquet --text "a red dog"')
def show(
    file: ListFile,
    text: Annotated[str | None, typer.Option(help="Show what this text matches.")] = None,
    query: Annotated[str | None, typer.Option(help="Show this query.")] = None,
    source: Annotated[str | None, typer.Option(help="Only queries of this source.")] = None,
    lang: Annotated[str | None, typer.Option(help="Only queries of this language.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most rows to show.")] = 20,
    mode: MatchMode = "openwit",
    case: MatchCase = "sensitive",
    as_json: AsJson = False,
) -> None:
    """Show a list, or the normalised form of a text and the queries in it."""
    from pipeline.queries.show import show_lines, show_list

    shown = show_list(
        file, text=text, query=query, source=source, lang=lang, limit=limit, mode=mode, case=case
    )
    show_result({"kind": "openwit-queries-show", **shown}, show_lines(shown), as_json)


@hashes.command(
    "build", epilog="Example: openwit-pipeline hashes build images/ --set flowers --out f.parquet"
)
def build_hash_file(
    sources: Annotated[
        list[str], typer.Argument(help="Folder of images, tar, Parquet with bytes, or dataset.")
    ],
    name: Annotated[str, typer.Option("--set", metavar="NAME", help="Name of the set.")],
    out: Annotated[str, typer.Option(help="The hash file to write.")],
    kind: Annotated[str, typer.Option(help="eval, block or published.")] = "eval",
    stages: Annotated[
        str, typer.Option(metavar="ROOT", help="The run of a dataset whose samples lack hashes.")
    ] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count images that cannot be read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hash the images of a set, mirrored too; of a published dataset take the hashes it has."""
    from pipeline.hashes.build import build_hashes
    from pipeline.hashes.show import show_hashes, show_lines

    build_hashes(sources, name=name, out=out, kind=kind, stages=stages, skip_bad=skip_bad)
    shown = show_hashes(out)
    show_result({"kind": "openwit-hashes-build", "file": shown}, show_lines(shown), as_json)


@hashes.command("show", epilog="Example: openwit-pipeline hashes show f.parquet")
def show_hash_file(
    file: Annotated[str, typer.Argument(help="A hash file.")], as_json: AsJson = False
) -> None:
    """Show what is in a hash file."""
    from pipeline.hashes.show import show_hashes, show_lines

    shown = show_hashes(file)
    show_result({"kind": "openwit-hashes-show", "file": shown}, show_lines(shown), as_json)


@hashes.command("check", epilog="Example: openwit-pipeline hashes check f.parquet")
def check_hash_files(
    files: Annotated[list[str], typer.Argument(help="Hash files.")], as_json: AsJson = False
) -> None:
    """Check columns, order, version and digest of hash files; exit 1 on a fault."""
    from pipeline.hashes.show import check_hashes

    found = check_hashes(files)
    value = {"kind": "openwit-hashes-check", "ok": not found, "faults": found}
    show_result(value, found or [f"{len(files)} hash files are whole"], as_json)
    raise typer.Exit(1 if found else 0)


@inputs.command(epilog="Example: openwit-pipeline inputs commoncrawl CC-MAIN-2024-10 --sample 4")
def commoncrawl(
    crawl_id: Annotated[str, typer.Argument(help="A crawl of Common Crawl.")],
    kind: Annotated[ArchiveKind, typer.Option(help="Whole pages, or their metadata.")] = "warc",
    sample: Annotated[int | None, typer.Option(help="So many files, drawn by keyed hash.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other files.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List the URLs of a crawl's files, one a line: what input.paths takes as @FILE."""
    from pipeline.readers.commoncrawl import list_inputs

    found = list_inputs(crawl_id, kind, sample=sample, seed=seed)
    show_result({"kind": "openwit-inputs", "crawl": crawl_id, "paths": found}, found, as_json)


def _print_plan(value: dict[str, Any], as_json: bool) -> None:
    from pipeline.planning.lines import plan_lines

    show_result(value, plan_lines(value), as_json)


def _print_outcome(value: dict[str, Any], as_json: bool) -> None:
    rows = [
        {
            "stage": line["stage"],
            "rows in": line["rows_in"],
            "rows out": line["rows_out"],
            "dropped": sum(line["drops"].values()),
            "by reason": ", ".join(f"{name} {count:,}" for name, count in line["drops"].items()),
        }
        for line in value["funnel"]
    ]
    lines = [table_text(["stage", "rows in", "rows out", "dropped", "by reason"], rows)]
    if value["dataset"]:
        lines.append(
            f"dataset: {value['samples']:,} samples, {value['digest']}, {value['dataset']}"
        )
    show_result(value, lines, as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 findings, 2 refused, 3 not finished, 130 stopped."""
    sys.exit(run_app(app, "openwit-pipeline", arguments))
