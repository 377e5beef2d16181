"""Block lists of a run: read once, laid below ROOT as sorted keys, looked into by every process."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from filters.urls.block_list import BlockList, Kind, packed, parse_entries, url_entry
from filters.urls.url_key import join_url, url_host
from filters.verdict import DropReason
from manifests.base.errors import RefusedError
from manifests.format.ids import pair_id
from pipeline.engine import files
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import Unit
from pipeline.records import DEDUPED
from pipeline.selection.ledger import ledger_rows

Place = Literal["match", "fetch", "balance"]
JUDGED = pa.schema(
    [
        DEDUPED.field(name)
        for name in ("pair_id", "url", "page_url", "text", "matched_query_ids", "original_sha256")
    ]
)
"""What `balance` reads of a pair: what lists are asked with, what the cap and the ledger need."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockListSettings:
    """What must not be in the dataset (`[[blocklist]]`)."""

    id: str
    """Names the list in the ledger."""
    kind: Kind
    """`url`, `domain` (the name and all below it; `=name` that host alone), `sha256` of image bytes
    as received, or `pair` (ids)."""
    file: str
    """UTF-8, one entry a line; lines that begin with `#` are comments."""
    at: Place | None = None
    """The stage that asks it. Unset: `match`, but for `sha256`, which images have, `fetch`. With
    `balance` a takedown does `balance` and `shards` again, and no download."""

    def __post_init__(self) -> None:
        """Refuse names that do not print well, and stages that do not ask such lists."""
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id must be up to 64 letters, digits, '.', '_', '-', got {self.id!r}")
        if self.at not in (None, "balance", self._first):
            raise ValueError(
                f"at must be {self._first!r} or 'balance' for kind {self.kind!r}, got {self.at!r}"
            )

    @property
    def _first(self) -> Place:
        return "fetch" if self.kind == "sha256" else "match"

    @property
    def place(self) -> Place:
        """The stage that asks the list."""
        return self.at or self._first


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunBlockList:
    """A list of a run, named by what it holds."""

    id: str
    kind: Kind
    place: Place
    path: str
    """Of the sorted keys, below ROOT."""
    sha256: str
    """Of the file that was read."""

    @property
    def parameters(self) -> list[str]:
        """What decisions depend on."""
        return [self.id, self.kind, self.sha256]


def find_block_lists(lists: Sequence[BlockListSettings], root: str) -> tuple[RunBlockList, ...]:
    """Return the lists of a run; paths of settings are absolute, nothing is written.

    Raises:
        RefusedError: if a file is missing or two lists have one id.
    """
    found = []
    for settings in lists:
        if files.size_bytes(settings.file) is None:
            raise RefusedError(f"blocklist {settings.id}: {settings.file}: no such file")
        digest = files.sha256_of(settings.file)
        name = f"{settings.kind}-{digest[:16]}.bin"
        found.append(
            RunBlockList(
                id=settings.id,
                kind=settings.kind,
                place=settings.place,
                path=files.join(root, "blocklists", name),
                sha256=digest,
            )
        )
    if len({each.id for each in found}) < len(found):
        raise RefusedError("blocklist: two lists have one id: give each its own")
    return tuple(found)


def prepare_block_lists(lists: Sequence[BlockListSettings], root: str) -> tuple[RunBlockList, ...]:
    """Return the lists of a run, their sorted keys laid below ROOT.

    Raises:
        RefusedError: if a file is missing or a line is no entry; names the line.
    """
    found = find_block_lists(lists, root)
    for settings, made in zip(lists, found, strict=True):
        if files.size_bytes(made.path) is None:
            lines = files.read_bytes(settings.file).split(b"\n")
            try:
                keys = parse_entries(settings.kind, lines)
            except ValueError as error:
                raise RefusedError(
                    f"blocklist {settings.id}: {settings.file}: {error}: correct it, no takedown "
                    "is passed over"
                ) from None
            files.write_atomic(made.path, packed(keys))
    return found


def at_place(lists: Sequence[RunBlockList], place: Place) -> tuple[RunBlockList, ...]:
    """Return the lists that one stage asks."""
    return tuple(each for each in lists if each.place == place)


@functools.lru_cache(maxsize=16)
def _load(path: str, kind: Kind) -> BlockList:
    if files.is_local(path) and files.size_bytes(path):
        return BlockList.of(kind, np.memmap(path, np.uint8, "r"))
    return BlockList.of(kind, np.frombuffer(files.read_bytes(path), np.uint8))


def find_blocked(
    rows: pa.Table | pa.RecordBatch, lists: Sequence[RunBlockList]
) -> dict[int, tuple[str, str]]:
    """Return reason and list id of the rows that a list blocks, by row, ascending.

    Args:
        rows: `url`, `text`, `page_url`, and for kind `sha256` `original_sha256`.
        lists: in the order in which they are asked within a reason.
    """
    found: dict[int, tuple[str, str]] = {}
    for reason, kind, is_blocked in _CHECKS:
        for each in lists:
            if each.kind == kind:
                mask = is_blocked(_load(each.path, kind), rows)
                for row in np.flatnonzero(mask).tolist():
                    found.setdefault(row, (reason.value, each.id))
    return dict(sorted(found.items()))


def _urls(blocked: BlockList, rows: Any) -> Any:
    return blocked.holds([url_entry(url) for url in rows["url"].to_pylist()])


def _hosts(blocked: BlockList, rows: Any) -> Any:
    return blocked.blocks_hosts([url_host(url) for url in rows["url"].to_pylist()])


def _page_hosts(blocked: BlockList, rows: Any) -> Any:
    hrefs = [join_url("", page or "") for page in rows["page_url"].to_pylist()]
    hosts = [None if isinstance(href, DropReason) else url_host(href) for href in hrefs]
    return blocked.blocks_hosts(hosts)


def _pairs(blocked: BlockList, rows: Any) -> Any:
    both = zip(rows["url"].to_pylist(), rows["text"].to_pylist(), strict=True)
    return blocked.holds([pair_id(url, text) for url, text in both])


def _bytes(blocked: BlockList, rows: Any) -> Any:
    return blocked.holds(rows["original_sha256"].to_pylist())


_CHECKS: tuple[tuple[DropReason, Kind, Callable[[BlockList, Any], Any]], ...] = (
    (DropReason.BLOCKED_URL, "url", _urls),
    (DropReason.BLOCKED_DOMAIN, "domain", _hosts),
    (DropReason.BLOCKED_PAGE_DOMAIN, "domain", _page_hosts),
    (DropReason.BLOCKED_PAIR, "pair", _pairs),
    (DropReason.BLOCKED_SHA256, "sha256", _bytes),
)


@dataclasses.dataclass(frozen=True)
class BlockedBodies:
    """Names the list, of kind `sha256`, that holds the digest of a body; None if none does."""

    lists: tuple[RunBlockList, ...]

    @property
    def parameters(self) -> list[list[str]]:
        """What decisions depend on."""
        return [each.parameters for each in self.lists]

    def __call__(self, sha256: bytes) -> str | None:
        """Ask the lists in order."""
        for each in self.lists:
            if _load(each.path, each.kind).holds([sha256])[0]:
                return each.id
        return None


@dataclasses.dataclass(frozen=True)
class TakeDown:
    """Leave out what block lists name, before anything is counted.

    Only the columns that `balance` asks for go on, and those that the lists are asked with.
    """

    lists: tuple[RunBlockList, ...]

    def run(self, unit: Unit, sink: Sink) -> None:
        """Judge one unit."""
        for source in unit.sources:
            for batch in read_batches(source.path, JUDGED.names):
                found = find_blocked(batch, self.lists)
                lost = batch.take(pa.array(list(found), pa.int64()))
                reasons = [reason for reason, _ in found.values()]
                values = [name for _, name in found.values()]
                sink.rows_in(batch.num_rows)
                sink.drop(ledger_rows(lost, sink.stage, reasons, values))
                kept = np.ones(batch.num_rows, np.bool_)
                kept[list(found)] = False
                sink.write(batch.filter(pa.array(kept)))
