"""What a manifest lists: files and shards; and what a check finds."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

Level = Literal["fast", "sha256", "deep", "hashes"]
"""How closely files are compared with their records; each level does what those before it do."""
DEEP: tuple[Level, ...] = ("deep", "hashes")
"""Levels that look at every sample."""
By = Literal["pair_id", "sha256", "phash", "cluster_id", "host", "page_host"]
"""What a choice of pairs may depend on."""

Reason = Literal["takedown", "optout", "legal", "quality", "other"]
"""Why pairs are withdrawn from a finished dataset."""
From = Literal["records", "img2dataset", "webdataset", "datacomp"]
"""What a manifest is built from."""
OnDuplicate = Literal["error", "first"]
"""What a pair id in two datasets is, when they are merged."""

SCHEMA_VERSION = 1
SHARD_KIND = "openwit-shard"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as recorded, with its place."""

    code: str
    message: str
    path: str = ""
    """Relative to the dataset; for `bad_root` the path inside the JSON."""
    shard: int | None = None
    key: str = ""
    expected: str = ""
    actual: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "code": self.code,
            "path": self.path,
            "shard": self.shard,
            "key": self.key,
            "expected": self.expected,
            "actual": self.actual,
            "message": self.message,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a shard; the path is relative to the dataset."""

    path: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON values."""
        return {"path": self.path, "bytes": self.bytes, "sha256": self.sha256}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A table beside the shards."""

    path: str
    role: str
    """`queries`, `inputs`, `ledger`, `tombstones` or `foreign`."""
    bytes: int
    sha256: str
    rows: int
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON values, unknown keys last and sorted."""
        known = {
            "path": self.path,
            "role": self.role,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "rows": self.rows,
        }
        return known | dict(sorted(self.extra.items()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One shard: a tar, its Parquet file, and the range of keys and ids in them."""

    id: int
    samples: int
    key_first: str
    key_last: str
    pair_id_min: str
    pair_id_max: str
    tar: StoredFile
    parquet: StoredFile
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def record_path(self) -> str:
        """Where the shard's own record is: beside its Parquet file."""
        return self.parquet.path.removesuffix(".parquet") + ".json"

    @property
    def digest_lines(self) -> str:
        """The shard's lines of the manifest's digest, as sha256sum writes them."""
        return f"{self.tar.sha256}  {self.tar.path}\n{self.parquet.sha256}  {self.parquet.path}\n"

    def to_json(self) -> dict[str, Any]:
        """Return the record as the manifest lists it, unknown keys last and sorted."""
        known = {
            "id": self.id,
            "samples": self.samples,
            "key_first": self.key_first,
            "key_last": self.key_last,
            "pair_id_min": self.pair_id_min,
            "pair_id_max": self.pair_id_max,
            "tar": self.tar.to_json(),
            "parquet": self.parquet.to_json(),
        }
        return known | dict(sorted(self.extra.items()))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ShardRecord":
        """Read what `to_json` gave, from values that were checked."""
        return cls(
            id=value["id"],
            samples=value["samples"],
            key_first=value["key_first"],
            key_last=value["key_last"],
            pair_id_min=value["pair_id_min"],
            pair_id_max=value["pair_id_max"],
            tar=StoredFile(**value["tar"]),
            parquet=StoredFile(**value["parquet"]),
            extra={name: value[name] for name in value if name not in SHARD_FIELDS}
            if len(value) > len(SHARD_FIELDS)
            else _NOTHING,
        )

    def file_bytes(self, spec: str | None) -> bytes:
        """Return the shard's own record file, from which a root can be rebuilt."""
        head = {"kind": SHARD_KIND, "schema_version": SCHEMA_VERSION, "spec": spec}
        return compact_json(head | self.to_json()) + b"\n"


_NOTHING: Mapping[str, Any] = {}
SHARD_FIELDS = tuple(
    field.name for field in dataclasses.fields(ShardRecord) if field.name != "extra"
)
LISTED_FIELDS = tuple(
    field.name for field in dataclasses.fields(ListedFile) if field.name != "extra"
)


def compact_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """Return one JSON text without blanks, UTF-8, keys as they are or sorted."""
    return json.dumps(
        value, sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
