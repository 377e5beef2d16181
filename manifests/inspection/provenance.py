"""`provenance`: where a dataset came from, or one pair of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from manifests.base import storage
from manifests.format.manifest import Manifest
from manifests.inspection.show import Wanted, find

_DECISIONS = (
    "caption_source",
    "lang",
    "seen",
    "select_prob",
    "duplicates",
    "cluster_id",
    "eval_hits",
    "reencoded",
    "license_url",
    "license_source",
    "image_source",
    "fetched_at",
)


def of_dataset(manifest: Manifest) -> dict[str, Any]:
    """Return parents, inputs, settings and tools of a dataset, as JSON values."""
    return {
        "kind": "openwit-provenance",
        "ok": True,
        "digest": manifest.digest,
        "revision": manifest.revision,
        "spec": manifest.spec,
        "tool": dict(manifest.tool),
        "parents": [dict(parent) for parent in manifest.parents],
        "inputs": _rows(manifest, "inputs"),
        "config": manifest.config,
    }


def of_pair(manifest: Manifest, pair_id: str) -> dict[str, Any]:
    """Return a pair's records in the archives, its queries, and what was decided about it.

    Without such a pair `ok` is false; `ledger` and `tombstones` then say what they know.

    Raises:
        RefusedError: if the id is malformed.
        OpenwitError: if a file of the dataset cannot be read.
    """
    shown = find(manifest, Wanted(pair_id=pair_id))
    value: dict[str, Any] = {
        "kind": "openwit-provenance",
        "ok": bool(shown.samples),
        "pair_id": pair_id.lower(),
        "ledger": shown.ledger,
        "tombstones": shown.tombstones,
    }
    if not shown.samples:
        return value
    row = shown.samples[0]
    queries, inputs = _rows(manifest, "queries"), _rows(manifest, "inputs")
    return value | {
        "key": row["key"],
        "url": row["url"],
        "page_url": row["page_url"],
        "page": _record(row, "page", inputs),
        "image": _record(row, "image", inputs),
        "queries": [
            {"query": queries[number]["query"], "selected": number in row["selected_by"]}
            for number in row["query_ids"]
            if 0 <= number < len(queries)
        ],
        "decisions": {name: row.get(name) for name in _DECISIONS},
    }


def _rows(manifest: Manifest, role: str) -> list[dict[str, Any]]:
    listed = manifest.listed(role)
    if not listed:
        return []
    with storage.open_read(manifest.path(listed[0].path)) as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def _record(
    row: Mapping[str, Any], kind: str, inputs: list[dict[str, Any]]
) -> dict[str, Any] | None:
    number = row.get(f"{kind}_input")
    if number is None or not 0 <= number < len(inputs):
        return None
    return {"uri": inputs[number]["uri"], "offset": row.get(f"{kind}_record")}


def provenance_lines(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield provenance as lines for people; texts are not yet made printable."""
    for name, item in value.items():
        if name in ("kind", "ok") or item in (None, [], {}):
            continue
        if isinstance(item, Mapping):
            yield f"{name}:"
            yield from (f"  {inner}: {found}" for inner, found in item.items() if found is not None)
        elif isinstance(item, list):
            yield f"{name}:"
            for entry in item:
                yield "  " + ", ".join(f"{inner} {found}" for inner, found in entry.items())
        else:
            yield f"{name}: {item}"
