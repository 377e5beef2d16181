"""The list of queries: its file, its digest, and the other shapes that are read as a list."""

import dataclasses
import hashlib
import json
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

METADATA_KEY = b"openwit.queries"
SCHEMA_VERSION = 1
UNKNOWN_LANG = "und"
MAX_QUERIES = 2**31 - 1
BATCH_QUERIES = 8192

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

SOURCES = {"wordnet": 1, "unigram": 2, "bigram": 4, "title": 8, "digits": 16, "user": 32}
"""Bits of the column `sources`."""

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("lang", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sources", pa.uint8(), nullable=False),
        ("count", pa.int64()),
        ("score", pa.float64()),
        ("views", pa.int64()),
    ]
)
"""Columns of a list file, sorted by (lang, query) as UTF-8 bytes; `query_id` is the row number."""


@dataclasses.dataclass(frozen=True, eq=False)
class QueryList:
    """A loaded list; a query's id is its position."""

    table: pa.Table
    """The columns of `SCHEMA`."""
    metadata: dict[str, Any]
    """What the builder wrote of itself; of lists of other shapes the entries dropped, by reason."""

    @property
    def queries(self) -> list[str]:
        """The queries, by id."""
        return self.table["query"].to_pylist()

    @property
    def langs(self) -> list[str]:
        """Their languages, by id."""
        return self.table["lang"].to_pylist()

    @property
    def digest(self) -> str:
        """The list's digest: languages and queries in order, nothing else."""
        digest = hashlib.sha256()
        for lang, query in self.pairs():
            digest.update(_line(lang, query))
        return digest.hexdigest()

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield (language, query) by id, with few of them in memory."""
        for batch in self.table.select(["lang", "query"]).to_batches(max_chunksize=BATCH_QUERIES):
            columns = (column.to_pylist() for column in batch.columns)
            yield from zip(*columns, strict=True)

    def __len__(self) -> int:
        return self.table.num_rows


def list_digest(langs: Iterable[str], queries: Iterable[str]) -> str:
    r"""Return the sha256 over `lang TAB query LF` of each row, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for lang, query in zip(langs, queries, strict=True):
        digest.update(_line(lang, query))
    return digest.hexdigest()


def _line(lang: str, query: str) -> bytes:
    return f"{lang}\t{query}\n".encode()


def load(path: str | pathlib.Path) -> QueryList:
    """Read a local list file; see `read`.

    Raises:
        OSError: if it cannot be read.
    """
    with pathlib.Path(path).open("rb") as file:
        return read(file, path)


def read(file: IO[bytes], name: object) -> QueryList:
    """Read a list: our Parquet, any Parquet with a column `query`, a JSON array, or a text file.

    Lists of other shapes than ours are sorted and numbered here.

    Args:
        file: open for reading, seekable.
        name: what errors call it.

    Raises:
        ValueError: if the file is none of these, holds no query, or is not UTF-8; names the line.
    """
    magic = file.read(4)
    file.seek(0)
    if magic == b"PAR1":
        return _from_parquet(file, name)
    data = file.read()
    entries = _from_json if data.lstrip()[:1] == b"[" else _from_lines
    return from_queries(entries(data, name), name)


def read_pairs(file: IO[bytes], name: object) -> Iterator[tuple[str, str]]:
    """Yield (language, query) of a list by id; of our own lists with few of them in memory.

    Args:
        file: open for reading, seekable.
        name: what errors call it.

    Raises:
        ValueError: as `read`; the digest of our own lists is not checked.
    """
    parquet = _ours(file)
    if parquet is None:
        yield from read(file, name).pairs()
        return
    for batch in parquet.iter_batches(BATCH_QUERIES, columns=["lang", "query"]):
        yield from zip(batch["lang"].to_pylist(), batch["query"].to_pylist(), strict=True)


def count_rows(file: IO[bytes], name: object) -> int:
    """Return the number of queries of a list; of our own lists none is read.

    Args:
        file: open for reading, seekable.
        name: what errors call it.

    Raises:
        ValueError: as `read`.
    """
    parquet = _ours(file)
    return parquet.metadata.num_rows if parquet else len(read(file, name))


def _ours(file: IO[bytes]) -> pq.ParquetFile | None:
    """Open a list of our own; leave others at their start."""
    magic = file.read(4)
    file.seek(0)
    parquet = pq.ParquetFile(file) if magic == b"PAR1" else None
    if parquet is None or METADATA_KEY not in (parquet.schema_arrow.metadata or {}):
        file.seek(0)
        return None
    return parquet


def from_queries(queries: Iterable[str], name: object = "list") -> QueryList:
    """Return a list of a user's own queries, NFC and sorted.

    Entries that are empty, hold control characters, or came before are dropped and counted.

    Raises:
        ValueError: if none is left; names `name`.
    """
    dropped = {"empty": 0, "control": 0, "duplicate": 0}
    kept: set[str] = set()
    for entry in queries:
        query = unicodedata.normalize("NFC", entry.strip())
        if not query:
            dropped["empty"] += 1
        elif CONTROL.search(query):
            dropped["control"] += 1
        elif query in kept:
            dropped["duplicate"] += 1
        else:
            kept.add(query)
    if not kept:
        raise ValueError(f"{name} must hold at least one query, got none; dropped: {dropped}")
    rows = len(kept)
    columns = {
        "query_id": list(range(rows)),
        "query": sorted(kept, key=str.encode),
        "lang": [UNKNOWN_LANG] * rows,
        "source": ["user"] * rows,
        "sources": [SOURCES["user"]] * rows,
        **dict.fromkeys(("count", "score", "views"), [None] * rows),
    }
    return QueryList(pa.table(columns, schema=SCHEMA), {"dropped": dropped})


def _from_parquet(file: IO[bytes], name: object) -> QueryList:
    parquet = pq.ParquetFile(file)
    if "query" not in parquet.schema_arrow.names:
        raise ValueError(f"{name} must have a column query, got {parquet.schema_arrow.names}")
    if not 0 < parquet.metadata.num_rows <= MAX_QUERIES:
        raise ValueError(
            f"{name} must hold 1 to {MAX_QUERIES} queries, got {parquet.metadata.num_rows}"
        )
    raw = (parquet.schema_arrow.metadata or {}).get(METADATA_KEY)
    if raw is None:
        entries = parquet.read(["query"])["query"].cast(pa.string()).to_pylist()
        return from_queries((entry or "" for entry in entries), name)
    metadata = json.loads(raw)
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{name} must have schema version {SCHEMA_VERSION}, "
            f"got {metadata.get('schema_version')!r}"
        )
    loaded = QueryList(parquet.read(SCHEMA.names).cast(SCHEMA), metadata)
    if loaded.digest != metadata.get("list_digest"):
        raise ValueError(f"{name} must have the list digest of its metadata, got {loaded.digest}")
    return loaded


def _from_json(data: bytes, name: object) -> Sequence[str]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{name} must be a JSON array of strings, got an error: {error}") from None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} must be a JSON array of strings, got other values in it")
    return [item.encode("utf-8", "replace").decode() for item in value]  # "?" for lone surrogates


def _from_lines(data: bytes, name: object) -> Sequence[str]:
    lines: list[str] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            raise ValueError(f"{name} line {number} must be UTF-8, got {line[:40]!r}") from None
    return lines
