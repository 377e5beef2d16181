"""What a `drop` would take out, found by one look at every row."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.derivation.choosing.selectors import COLUMNS, Matcher, Selector
from manifests.derivation.copying.tables import read_list
from manifests.format.manifest import Manifest, load
from manifests.format.naming import EXPORT_NAMES
from manifests.format.schema import LEDGER


@dataclasses.dataclass
class Plan:
    """What would go."""

    source: Manifest
    matcher: Matcher
    rows: dict[str, tuple[Selector, str | None]] = dataclasses.field(default_factory=dict)
    """By pair id: what names it, and the sha256 of its image as found."""
    texts: set[str] = dataclasses.field(default_factory=set)
    """URLs and captions that go; the ledger forgets them too."""
    alternates: int = 0
    """Alternate texts of pairs that stay."""
    examples: int = 0
    """Dropped pairs of which the ledger will forget URL and caption."""
    shards: dict[int, list[bool]] = dataclasses.field(default_factory=dict)
    """By position of each shard that changes: which of its rows stay."""
    bytes: int = 0
    """Of the files that are written anew."""
    unmatched: list[Selector] = dataclasses.field(default_factory=list)
    stale: list[str] = dataclasses.field(default_factory=list)
    """Exports in the folder that will not say what the dataset holds any more."""

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "rows": len(self.rows),
            "alternates": self.alternates,
            "examples": self.examples,
            "shards": len(self.shards),
            "bytes": self.bytes,
            "unmatched": [dataclasses.asdict(selector) for selector in self.unmatched],
            "stale": self.stale,
        }


def plan_drop(uri: str, matcher: Matcher) -> Plan:
    """Look at every row and say what would go.

    Raises:
        RefusedError: if nothing is selected, or the dataset is in no pair-id order.
        OpenwitError: if a shard cannot be read.
    """
    if not matcher.selectors:
        raise RefusedError("drop: no selector: name what is to go, as in --url or --domain-file")
    source = load(uri)
    if source.order != "pair_id":
        raise RefusedError(
            f"{source.root}: order {source.order}: its tars are not ours to change: "
            "make a dataset of it first: openwit-manifest sample --fraction 1 --out"
        )
    for folder in ("shards", "ledger"):
        storage.refuse_link(source.root, folder)
    plan = Plan(source, matcher)
    used: set[Selector] = set()
    for number, shard in enumerate(source.shards):
        table = source.reader(shard).table([*COLUMNS, "caption"])
        hits = matcher.rows(table)
        lost = [_lost(matcher, each) for each in table["alternates"].to_pylist()]
        if not any(hits) and not any(lost):
            continue
        plan.shards[number] = [hit is None for hit in hits]
        plan.bytes += shard.tar.bytes + shard.parquet.bytes
        for row, hit, names in zip(table.to_pylist(), hits, lost, strict=True):
            used.update(names)
            if hit is None:
                plan.alternates += len(names)
            else:
                used.add(hit)
                plan.rows[row["pair_id"]] = (hit, row["original_sha256"])
                plan.texts |= {row["url"], row["caption"]}
    for file in source.listed("ledger"):
        plan.examples += pc.sum(named_examples(plan, read_list(source, file, LEDGER))).as_py() or 0
    plan.unmatched = [each for each in matcher.selectors if each not in used]
    if plan.shards or plan.examples:
        plan.stale = [
            name for name in EXPORT_NAMES if storage.size_bytes(source.path(name)) is not None
        ]
    return plan


def named_examples(plan: Plan, table: pa.Table) -> pa.BooleanArray:
    """Return which rows of a ledger hold a URL or caption that is to be forgotten."""
    hidden = np.zeros(len(table), np.bool_)
    shown = pc.or_(table["url"].is_valid(), table["caption"].is_valid()).to_numpy()
    for at in np.flatnonzero(shown).tolist():
        identity, url, caption = (table[name][at].as_py() for name in ("pair_id", "url", "caption"))
        hidden[at] = (
            identity in plan.rows
            or url in plan.texts
            or caption in plan.texts
            or plan.matcher.pair(identity) is not None
            or plan.matcher.place(url) is not None
        )
    return pa.array(hidden)


def _lost(matcher: Matcher, alternates: list[dict[str, Any]]) -> list[Selector]:
    return [hit for hit in map(matcher.named, alternates) if hit]
