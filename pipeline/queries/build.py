"""Builds a list of queries from its sources and writes it: equal inputs, equal bytes."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from filters.queries.query_list import (
    MAX_QUERIES,
    METADATA_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    list_digest,
)
from filters.text.categories import unicode_version
from manifests.base import storage
from manifests.base.console import say
from manifests.base.errors import RefusedError
from manifests.base.version import __version__
from manifests.format.table import TableWriter
from pipeline.queries.credit import Row
from pipeline.queries.gather import gather_rows
from pipeline.queries.settings import INPUTS, QueriesSettings, as_paths
from pipeline.queries.sources.wordnet import wordnet_paths


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What was built; the same as the list's metadata."""

    out: str
    metadata: dict[str, Any]

    @property
    def list_digest(self) -> str:
        """Digest of languages and queries in order."""
        return str(self.metadata["list_digest"])

    def lines(self) -> list[str]:
        """Return the summary for people, one fact a line."""
        made = self.metadata
        lines = [f"{self.out}: {sum(made['rows'].values())} queries, profile {made['profile']}"]
        lines += [f"  {source}: {count}" for source, count in made["rows"].items()]
        for lang, told in made["languages"].items():
            lines += [f"{lang}: {line}" for line in _language_lines(told)]
        return [*lines, f"list_digest: {made['list_digest']}"]


def build_list(
    settings: QueriesSettings,
    out: str,
    workers: int = 0,
    report: Callable[[str], None] = say,
) -> BuildSummary:
    """Build the list and write it to `out`, whole or not at all.

    Args:
        settings: the table `[queries]`, paths resolved.
        out: path of the Parquet file.
        workers: processes; 0 is one per core. They change no byte.
        report: is told which step begins.

    Raises:
        RefusedError: if an input is missing or wrong, or no query is left.
        OpenwitError: if an input is damaged; names file and byte.
    """
    if settings.file:
        raise RefusedError(f"queries.file: {settings.file}: is a ready list, nothing is built")
    if not settings.of_each:
        raise RefusedError(f"[queries]: no input: set {', '.join(INPUTS)}, or file")
    inputs = list_inputs(settings)
    rows: list[tuple[str, Row]] = []
    languages: dict[str, Any] = {}
    for each in settings.of_each:
        with tempfile.TemporaryDirectory(prefix="openwit-queries-") as folder:
            found, languages[each.lang] = gather_rows(each, folder, workers, report)
        rows += [(each.lang, row) for row in found]
    if not 0 < len(rows) <= MAX_QUERIES:
        raise RefusedError(f"queries build: {len(rows)} queries: {_why_none(languages)}")
    metadata = _metadata(settings, rows, languages)
    digest = list_digest([lang for lang, _ in rows], [row.query for _, row in rows])
    metadata |= {
        "inputs": [dataclasses.asdict(each) | _content(each.path) for each in inputs],
        "list_digest": digest,
    }
    _write(out, rows, metadata)
    return BuildSummary(out=out, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListInput:
    """A file that a list is built from."""

    lang: str
    kind: str
    """The setting that names it."""
    path: str


def list_inputs(settings: QueriesSettings) -> list[ListInput]:
    """Return all input files.

    Raises:
        RefusedError: if one is missing.
    """
    found = [
        ListInput(lang=each.lang, kind=kind, path=path)
        for each in settings.of_each
        for kind in INPUTS
        for path in (
            as_paths(getattr(each, kind))
            if kind != "wordnet"
            else wordnet_paths(each.wordnet)
            if each.wordnet
            else ()
        )
    ]
    for each in found:
        if storage.size_bytes(each.path) is None:
            raise RefusedError(f"queries.{each.kind}: {each.path}: no such file: check [queries]")
    return found


def _content(path: str) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return {"path": name, "bytes": storage.size_bytes(path), "sha256": storage.sha256_of(path)}


def _metadata(
    settings: QueriesSettings, rows: Sequence[tuple[str, Row]], languages: Mapping[str, Any]
) -> dict[str, Any]:
    sources = sorted({row.source for _, row in rows})
    return {
        "schema_version": SCHEMA_VERSION,
        "openwit_version": __version__,
        "unicode_version": unicode_version(),
        "profile": settings.profile,
        "budget": settings.budget,
        "wordnet_lemmas": settings.wordnet_lemmas,
        "namespaces": sorted(settings.namespaces),
        "rows": {source: sum(row.source == source for _, row in rows) for source in sources},
        "languages": languages,
    }


def _write(out: str, rows: Sequence[tuple[str, Row]], metadata: Mapping[str, Any]) -> None:
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    schema = SCHEMA.with_metadata({METADATA_KEY: text.encode()})
    columns = {
        "query_id": range(len(rows)),
        "lang": [lang for lang, _ in rows],
        **{
            name: [getattr(row, name) for _, row in rows]
            for name in ("query", "source", "sources", "count", "score", "views")
        },
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    with storage.new_file(out.rpartition("/")[0] or ".") as file:
        writer = TableWriter(file, schema, dictionary=("lang", "source"))
        writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
        writer.close()
        file.publish(out)


def _language_lines(told: Mapping[str, Any]) -> list[str]:
    lines = []
    if told["pages"]:
        lines.append("pages: " + ", ".join(f"{k} {v}" for k, v in told["pages"].items()))
    lines.append(f"words: {told['words']}, titles ranked by {told['title_rank']}")
    for name, value in told["thresholds"].items():
        lines.append(f"{name}: {value['used']} (asked for {value['requested']}, {value['reason']})")
    for source, reasons in told["drops"].items():
        dropped = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        lines.append(f"dropped from {source}: {dropped}")
    return lines


def _why_none(languages: Mapping[str, Any]) -> str:
    told = [
        f"{lang}: N = {each['words']}, thresholds "
        f"{ {name: value['used'] for name, value in each['thresholds'].items()} }, dropped "
        f"{each['drops']}"
        for lang, each in languages.items()
    ]
    return "; ".join([*told, "lower the thresholds or give more text"])
