"""Writes the generated pages of this folder from the source: `make docs`.

cli.md       each command and sub-command, as its --help shows it
settings.md  each table and key of a configuration
reasons.md   why pairs are dropped, and why records give none
columns.md   each column of a dataset's tables and of the rows between stages
metrics.md   what a training writes down, and what benchmarks measure

Meanings are the docstrings of the source; those that have no place there are in meanings.toml.
"""

import ast
import dataclasses
import inspect
import itertools
import json
import pathlib
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import typer

import manifests.cli
import manifests.format.schema
import pipeline.cli
import pipeline.records
import trainer.cli
from filters.verdict import DropReason
from pipeline.config import RunConfig
from pipeline.readers.reasons import Fault, PageDrop, Skip
from trainer.config import TrainConfig
from trainer.metrics import Event

FOLDER = pathlib.Path(__file__).parent
PACKAGES = ("filters", "manifests", "pipeline", "trainer")
HEAD = "<!-- Written by `make docs`; change the source it names, not this file. -->\n"
HELP_COLUMNS = 100
COMMANDS = [typer.main.get_command(each.cli.app) for each in (pipeline, manifests, trainer)]
TYPE_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text"}
MEANINGS = tomllib.loads((FOLDER / "meanings.toml").read_text("utf-8"))
TABLES = (
    ("`shards/*.parquet`", manifests.format.schema, "SAMPLES", ""),
    ("`queries.parquet`", manifests.format.schema, "QUERIES", ""),
    ("`inputs.parquet`", manifests.format.schema, "INPUTS", ""),
    ("`ledger/*.parquet`", manifests.format.schema, "LEDGER", ""),
    ("`tombstones-r*.parquet`", manifests.format.schema, "TOMBSTONES", ""),
    ("`extract`: part", pipeline.records, "CANDIDATES", ""),
    ("`extract`: images", pipeline.records, "IMAGES", ""),
    ("`extract`: deadletter", pipeline.records, "DEADLETTERS", ""),
    ("`match`, `preselect`: part", pipeline.records, "MATCHED", "CANDIDATES"),
    ("`fetch`: part", pipeline.records, "FETCHED", "MATCHED"),
    ("`dedup`: part", pipeline.records, "DEDUPED", "FETCHED"),
    ("`balance`: part", pipeline.records, "SELECTION", ""),
    ("All stages: drops", pipeline.records, "DROPS", ""),
)
"""Title, module, name of the schema, and of the schema whose columns it also has."""
_REASON = re.compile(r"(?P<stage>[a-z, ]+): (?P<meaning>.*?)\.(?: Value: (?P<value>.*)\.)?")


def pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    made = {
        "cli": _cli_lines(),
        "settings": _settings_lines(),
        "reasons": _reasons_lines(),
        "columns": _columns_lines(),
        "metrics": _metrics_lines(),
    }
    return {f"{name}.md": HEAD + "\n".join(lines) for name, lines in made.items()}


def commands(command: Any, parent: Any = None) -> Iterator[tuple[str, str, str | None]]:
    """Yield full name, help and example of a command and of each of its sub-commands."""
    context = command.make_context(
        command.name, [], parent, resilient_parsing=True, terminal_width=HELP_COLUMNS
    )
    shown = "\n".join(line.rstrip() for line in context.get_help().rstrip().splitlines())
    yield context.command_path, shown, command.epilog
    for child in getattr(command, "commands", {}).values():
        yield from commands(child, context)


def settings(kind: type, table: str) -> Iterator[tuple[str, type, list[dict[str, str]]]]:
    """Yield each table from `table` on, with its class and its rows; "" is the top of the file."""
    hints, docs = typing.get_type_hints(kind), attribute_docs(kind)
    fields = dataclasses.fields(kind)
    nested = {field.name: _table_class(hints[field.name]) for field in fields}
    rows = [
        {
            "key": f"`{field.name}`",
            "type": _type_text(hints[field.name]),
            "default": _default_text(field),
            "meaning": docs.get(field.name, ""),
        }
        for field in fields
        if not nested[field.name]
    ]
    yield table, kind, rows
    for name, inner in nested.items():
        if inner:
            yield from settings(inner, f"{table}.{name}".lstrip("."))


def _table_class(hint: Any) -> type | None:
    """Return the class of a table, or of the tables of a list; None for a plain value."""
    inner = next(iter(typing.get_args(hint)), hint)
    return inner if dataclasses.is_dataclass(inner) and isinstance(inner, type) else None


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class and its bases: Python keeps none."""
    docs: dict[str, str] = {}
    ours = [each for each in kind.__mro__ if each.__module__.partition(".")[0] in PACKAGES]
    for each in reversed(ours):
        docs |= _docs_below(ast.parse(textwrap.dedent(inspect.getsource(each))).body[0])
    return docs


def _docs_below(tree: Any) -> dict[str, str]:
    docs = {}
    for target, below in itertools.pairwise(tree.body):
        name = getattr(target, "target", None) or getattr(target, "targets", [None])[0]
        if isinstance(name, ast.Name) and isinstance(below, ast.Expr):
            docs[name.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docs


def _cli_lines() -> Iterator[str]:
    yield "# Commands\n\nWhat `--help` shows. Exit codes: [running.md](running.md#exit-codes).\n"
    for command in COMMANDS:
        for path, shown, _ in commands(command):
            yield f"{'#' * (1 + len(path.split()))} {path}\n\n```text\n{shown}\n```\n"


def _settings_lines() -> Iterator[str]:
    yield (
        "# Settings\n\nOne TOML file holds all settings. `openwit-pipeline` reads all tables but "
        "`[train]`, `openwit-train` reads `[train]` and the tables in it. Any key can be set on the"
        " command line: `--set select.cap=1000`. A default is written as in the file; *required* "
        "has none, *unset* cannot be written. Relative paths count from the file's folder. "
        "*Provisional* defaults are not measured yet and may change.\n"
    )
    for root, table in ((RunConfig, ""), (TrainConfig, "train")):
        for name, kind, rows in settings(root, table):
            title = f"`[{name}]`" if name else "Top of the file"
            yield f"## {title}\n\n{inspect.getdoc(kind)}\n"
            yield from _table(rows)


def _type_text(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_text(kind) for kind in arguments if kind is not types.NoneType)
    if origin in (list, tuple):
        return f"list of {_type_text(arguments[0]).replace(' or ', ', ')}"
    return TYPE_NAMES.get(hint, str(hint))


def _default_text(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"`{json.dumps(field.default_factory())}`"
    if field.default is dataclasses.MISSING:
        return "*required*"
    return "*unset*" if field.default is None else f"`{json.dumps(field.default)}`"


def _reasons_lines() -> Iterator[str]:
    yield "# Reasons\n\n## Dropped pairs\n"
    yield (
        "The column `reason` of the ledger, and the keys of `drops` in the manifest's `funnel`, in "
        "the order of the stages. Value is what the column `value` holds.\n"
    )
    docs = attribute_docs(DropReason)
    yield from _table(
        {"reason": f"`{each}`", **_reason_parts(each, docs.get(each.name, ""))}
        for each in DropReason
    )
    yield "## Records and pages of an archive\n"
    yield (
        "`extract` counts each record of an archive as a page, or under one of these reasons, in "
        "`notes` of the unit's `unit-<unit>.json`. A fault also is a row of "
        "`deadletter-<unit>.parquet`, with file, offset and length.\n"
    )
    for title, kind in (("Skipped", Skip), ("Not parsed", PageDrop), ("Faults", Fault)):
        yield f"### {title}\n\n{inspect.getdoc(kind)}\n"
        meanings = attribute_docs(kind)
        yield from _table(
            {"reason": f"`{each}`", "meaning": meanings.get(each.name, "")} for each in kind
        )


def _reason_parts(reason: DropReason, doc: str) -> dict[str, str]:
    found = _REASON.fullmatch(doc)
    if found is None:
        raise ValueError(f"{reason}: {doc!r}: write STAGE: MEANING. Value: VALUE. below it")
    return {name: text or "-" for name, text in found.groupdict().items()}


def _columns_lines() -> Iterator[str]:
    yield (
        "# Columns\n\nOf the tables of a dataset ([what they are for](dataset.md)), then of the "
        "rows between stages, below `ROOT/stages`, which may change with any version. `?`: may be "
        "null. Ids and hashes are hexadecimal text unless they are binary.\n"
    )
    for title, module, name, before in TABLES:
        docs = _docs_below(ast.parse(inspect.getsource(module)))
        known = set(getattr(module, before).names) if before else set()
        fields = [field for field in getattr(module, name) if field.name not in known]
        meanings = _meanings(MEANINGS["columns"][name], name, [field.name for field in fields])
        more = f" The columns of `{before}`, without `texts`, and:" if known else ""
        yield f"## {title}\n\n{docs.get(name, '')}{more}\n"
        yield from _table(
            {
                "column": f"`{field.name}`",
                "type": _arrow_text(field),
                "meaning": meanings[field.name],
            }
            for field in fields
        )


def _arrow_text(field: pa.Field) -> str:
    text = re.sub(r"(item|element): ", "", str(field.type).removeprefix("fixed_size_"))
    return f"`{text}{'?' if field.nullable else ''}`"


def _meanings(found: dict[str, str], what: str, names: Sequence[str]) -> dict[str, str]:
    differ = sorted(set(found) ^ set(names))
    if differ:
        raise ValueError(f"meanings.toml: {what}: {', '.join(differ)}: add or remove")
    return found


def _metrics_lines() -> Iterator[str]:
    yield (
        "# Metrics\n\n## Of a training\n\nEach line of `metrics.jsonl` is one event: `event`, "
        "`step` (steps done), `time` (seconds since 1970), and what it says. The "
        "numbers of `train` go to TensorBoard, too.\n"
    )
    events = _meanings(MEANINGS["events"], "events", typing.get_args(Event))
    yield from _table({"event": f"`{name}`", "says": text} for name, text in events.items())
    yield "### The event `train`\n"
    train = MEANINGS["train"].items()
    yield from _table({"metric": f"`{name}`", "meaning": text} for name, text in train)
    yield (
        "## Of benchmarks\n\n`python -m benchmarks.<part> [--quick] --json OUT` writes one flat "
        "object of numbers, these and some more. A ratio above 1 says that openwit is faster or "
        "better; of slopes and `..._over_...` less is better. All times are CPU seconds, and both "
        "sides take turns in one run.\n"
    )
    for part, metrics in MEANINGS["benchmarks"].items():
        source = (FOLDER.parent / "benchmarks" / f"{part}.py").read_text("utf-8")
        first = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
        yield f"### {part}\n\n{' '.join(first.split())}\n"
        yield from _table(
            {"metric": f"`{name}`", "meaning": text} for name, text in metrics.items()
        )


def _table(rows: Iterable[dict[str, str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        if not number:
            yield _line(row)
            yield _line("---" for _ in row)
        yield _line(row.values())
    yield ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
