"""Datasets that benchmarks make up: rows and images to committed shards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.derivation.build import blank_manifest
from manifests.format import Layout, Manifest, Samples, ShardWriter, commit
from manifests.format.records import ListedFile, ShardRecord
from manifests.format.schema import describe

Part = tuple[Sequence[Mapping[str, Any]], Sequence[bytes]]
"""The rows of a shard, and the image of each."""


def write_dataset(
    root: str, parts: Iterable[Part], layout: Layout, *, name: str, files: Sequence[ListedFile] = ()
) -> Manifest:
    """Write one shard for each part, and the manifest."""
    shards = []
    for number, (rows, images) in enumerate(parts):
        batch = pa.RecordBatch.from_pylist(rows, schema=layout.given_schema)
        samples = Samples(batch, list(images))
        shards.append(ShardWriter(number, root, [samples], layout=layout).write())
    manifest = new_manifest(root, shards, layout, name=name, files=files)
    commit(root, manifest)
    return manifest


def new_manifest(
    root: str,
    shards: Sequence[ShardRecord],
    layout: Layout,
    *,
    name: str,
    files: Sequence[ListedFile] = (),
) -> Manifest:
    """Return the manifest of shards, with nothing in it but what they need."""
    return blank_manifest(
        root,
        name,
        describe(layout.schema),
        list(shards),
        files=tuple(files),
        per_shard=layout.samples_per_shard,
    )
