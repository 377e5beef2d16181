"""The dataset on disk: names, ids, schemas, tar and Parquet bytes, shards, the manifest."""

from manifests.format.manifest import Manifest, commit, load
from manifests.format.reader import ShardReader
from manifests.format.records import Finding, ShardRecord
from manifests.format.writer import Layout, Samples, ShardWriter

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
