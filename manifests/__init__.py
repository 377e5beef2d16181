"""The dataset contract: shards under one manifest, and the command that looks after them."""

from manifests.format import Manifest, ShardReader, ShardRecord, ShardWriter, commit, load

__all__ = ["Manifest", "ShardReader", "ShardRecord", "ShardWriter", "commit", "load"]
