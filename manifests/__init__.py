"""The dataset contract: shards under one manifest, and the command that looks after them."""

from manifests.format import (
    Finding,
    Layout,
    Manifest,
    Samples,
    ShardReader,
    ShardRecord,
    ShardWriter,
    commit,
    load,
)

__all__ = [
    "Finding",
    "Layout",
    "Manifest",
    "Samples",
    "ShardReader",
    "ShardRecord",
    "ShardWriter",
    "commit",
    "load",
]
