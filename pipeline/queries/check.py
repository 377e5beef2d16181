"""Finds queries of a list that can never match, or that stand for one another."""

import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.queries.match_form import Case, pattern
from filters.queries.matcher import Matcher, Mode
from filters.queries.query_list import CONTROL, UNKNOWN_LANG, QueryList, read
from manifests.base import storage
from manifests.base.console import printable
from manifests.base.errors import ExitCode, RefusedError
from pipeline.queries.credit import MAX_QUERY_CHARS
from pipeline.queries.lines import read_lines
from pipeline.queries.sources.inflate import Inflater

BATCH_TEXTS = 8192
# Every mark is spaced on both sides, so between two of them there are two blanks or a word.
_UNREACHABLE_V1 = re.compile(r"[^ ][,.;:?!`]|[,.;:?!`][^ ]|[,.;:?!`] [,.;:?!`]|[\t\n\r]")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with one query."""

    kind: str
    """empty, never_matches, duplicate, equal_form, not_nfc, too_long."""
    lang: str
    query: str
    detail: str

    def line(self) -> str:
        """Return the finding for people."""
        return f"{self.kind}: {self.lang} {printable(self.query)!r}: {printable(self.detail)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All findings about a list."""

    path: str
    queries: int
    findings: list[Finding]
    """In the order of the file."""
    texts: int = 0
    dead: int = 0
    """Queries that none of the texts contains."""

    @property
    def exit_code(self) -> int:
        """1 with findings, else 0."""
        return ExitCode.FINDINGS if self.findings else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `--json` prints them."""
        plain = dataclasses.asdict(self)
        if not self.texts:
            del plain["texts"], plain["dead"]
        return plain

    def lines(self) -> list[str]:
        """Return the report for people."""
        lines = [finding.line() for finding in self.findings]
        if self.texts:
            share = self.dead / max(self.queries, 1)
            lines.append(f"{self.dead} queries ({share:.1%}) are in none of {self.texts} texts")
        return [*lines, f"{self.path}: {self.queries} queries, {len(self.findings)} findings"]


def check_list(
    path: str, mode: Mode = "openwit", case: Case = "sensitive", texts: str = ""
) -> CheckReport:
    """Check a list of any shape that a run reads.

    Args:
        path: of the list.
        mode: how it will be matched.
        case: how it will be matched.
        texts: UTF-8 file, one text a line, plain, gzip or bzip2; to count dead queries.

    Raises:
        RefusedError: if a file is missing or is no list.
    """
    loaded = load_list(path)
    findings = []
    first_of: dict[tuple[str, str], str] = {}
    for lang, query in _entries(path, loaded):
        form = f" {query} " if mode == "metaclip-v1" else pattern(query, case)
        problems = list(_problems(query, form, mode))
        if form.strip():
            if (lang, form) in first_of:
                first = first_of[lang, form]
                kind = "duplicate" if first == query else "equal_form"
                problems.append((kind, f"reads like {first!r}, which comes before"))
            first_of.setdefault((lang, form), query)
        findings += [
            Finding(kind=kind, lang=lang, query=query, detail=detail) for kind, detail in problems
        ]
    total, dead = _dead(loaded, mode, case, texts) if texts else (0, 0)
    return CheckReport(path=path, queries=len(loaded), findings=findings, texts=total, dead=dead)


def load_list(path: str) -> QueryList:
    """Return a list of any shape.

    Raises:
        RefusedError: if the file is missing or is no list.
    """
    if storage.size_bytes(path) is None:
        raise RefusedError(f"{path}: no such file: check the path of the list")
    try:
        with storage.open_read(path) as file:
            return read(file, path)
    except (ValueError, pa.ArrowException) as error:
        raise RefusedError(f"not a list of queries: {error}") from None


def _entries(path: str, loaded: QueryList) -> Iterator[tuple[str, str]]:
    """Yield (language, query) as the file has them, before they are cleaned."""
    if "schema_version" in loaded.metadata:  # our own file is read as it is
        yield from zip(loaded.langs, loaded.queries, strict=True)
        return
    with storage.open_read(path) as file:
        is_parquet = file.read(4) == b"PAR1"
        file.seek(0)
        if is_parquet:
            entries = pq.read_table(file, columns=["query"])["query"].to_pylist()
        else:
            text = file.read().decode("utf-8-sig")
            lines = [line.strip() for line in text.split("\n") if line.strip()]
            entries = json.loads(text) if text.lstrip().startswith("[") else lines
    yield from ((UNKNOWN_LANG, entry or "") for entry in entries)


def _problems(query: str, form: str, mode: Mode) -> Iterator[tuple[str, str]]:
    if not query.strip():
        yield "empty", "leave it out"
        return
    if CONTROL.search(query):
        yield "never_matches", "it holds control characters, so a run leaves it out"
    elif mode == "metaclip-v1" and _UNREACHABLE_V1.search(form):
        yield "never_matches", "texts have blanks around , . ; : ? ! and `"
    elif not form:
        yield "never_matches", "nothing is left of it in a text"
    if not unicodedata.is_normalized("NFC", query):
        yield "not_nfc", "texts are NFC"
    if len(query) > MAX_QUERY_CHARS:
        yield "too_long", f"{len(query)} characters, at most {MAX_QUERY_CHARS} are useful"


def _dead(loaded: QueryList, mode: Mode, case: Case, texts: str) -> tuple[int, int]:
    """Return the number of texts, and of queries that are in none of them."""
    matcher = Matcher(loaded.queries, mode=mode, case=case)
    seen = np.zeros(len(loaded), bool)
    total = 0
    for batch in _batches(read_lines(Inflater(texts), texts)):
        total += len(batch)
        matched = matcher.match(pa.array(batch, pa.string()))
        seen[np.unique(matched.flatten().to_numpy())] = True
    return total, int((~seen).sum())


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH_TEXTS:
            yield batch
            batch = []
    if batch:
        yield batch
