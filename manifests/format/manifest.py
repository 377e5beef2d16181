"""The root of a dataset: `manifest.json`, loaded strictly and committed last."""

import contextlib
import dataclasses
import functools
import gc
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError
from manifests.base.version import __version__
from manifests.format.naming import IMAGE_EXT, ROOT_NAME, format_key, shard_name
from manifests.format.reader import ShardReader
from manifests.format.records import (
    LISTED_FIELDS,
    SCHEMA_VERSION,
    Finding,
    ListedFile,
    ShardRecord,
    compact_json,
)
from manifests.format.rules import Problems, root_problems

KIND = "openwit-manifest"
LIBRARIES = ("pyarrow", "pillow", "numpy")
"""Those that make bytes of a dataset."""
MAX_ROOT_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """One dataset: what it is, where it came from, and the shards that hold it."""

    root: str
    """Folder or URI of the dataset; not part of the file."""
    tars: str = ""
    """Where the tars are, if that is another folder; not part of the file."""
    revision: int = 0
    """Raised by each takedown in place."""
    name: str
    version: str
    description: str
    license: str | None
    """SPDX expression of the collection."""
    url: str = ""
    creator: str = ""
    citation: str = ""
    spec: str | None
    """`<spec12>-<gen8>` of the stage that wrote the shards; null for foreign and derived ones."""
    tool: Mapping[str, Any]
    schema: Sequence[Mapping[str, Any]]
    """Name, Arrow type and nullability of the sample columns."""
    config: Mapping[str, Any] | None
    """The settings that affect data."""
    samples_per_shard: int
    image_ext: str = IMAGE_EXT
    order: str = "pair_id"
    hash: Mapping[str, Any] | None
    """version and basis of the perceptual hashes."""
    query_list: Mapping[str, Any] | None
    funnel: Sequence[Mapping[str, Any]] | None
    """Per stage rows in, rows out, drops by reason, failed units."""
    parents: Sequence[Mapping[str, Any]] = ()
    files: tuple[ListedFile, ...]
    shards: tuple[ShardRecord, ...]
    """Ids ascending, unique."""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of the file that this version does not know; every rewrite keeps them."""

    @functools.cached_property
    def digest(self) -> str:
        """`sha256:<hex>` over the shards' sha256sum lines: the samples and their order, no more."""
        lines = hashlib.sha256()
        for shard in self.shards:
            lines.update(shard.digest_lines.encode())
        return f"sha256:{lines.hexdigest()}"

    @property
    def samples(self) -> int:
        """Samples of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the shards."""
        return {
            "shards": len(self.shards),
            "samples": self.samples,
            "tar_bytes": sum(shard.tar.bytes for shard in self.shards),
            "parquet_bytes": sum(shard.parquet.bytes for shard in self.shards),
        }

    def reader(self, shard: ShardRecord) -> ShardReader:
        """Return the reader of one of the shards."""
        return ShardReader(self.root, shard, schema=self.schema, tars=self.tars)

    def listed(self, role: str) -> list[ListedFile]:
        """Return the tables of a role."""
        return [file for file in self.files if file.role == role]

    def path(self, name: str) -> str:
        """Return where a file of the dataset is."""
        return storage.join(self.root, name)

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON values, keys in their order."""
        about = {name: getattr(self, name) for name in ("url", "creator", "citation")}
        return {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "revision": self.revision,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "license": self.license,
            **{name: value for name, value in about.items() if value},
            "digest": self.digest,
            "spec": self.spec,
            "tool": self.tool,
            "schema": list(self.schema),
            "config": self.config,
            "config_digest": self.config if self.config is None else config_digest(self.config),
            "samples_per_shard": self.samples_per_shard,
            "key_digits": len(format_key(0)),
            "image_ext": self.image_ext,
            "order": self.order,
            "hash": self.hash,
            "query_list": self.query_list,
            "totals": self.totals,
            "funnel": self.funnel if self.funnel is None else list(self.funnel),
            "parents": list(self.parents),
            "files": [file.to_json() for file in self.files],
            "shards": [shard.to_json() for shard in self.shards],
            **dict(sorted(self.extra.items())),
        }

    def to_bytes(self) -> bytes:
        """Return `manifest.json`: each value on its line, each shard too."""
        lines = []
        for name, value in self.to_json().items():
            if name == "shards" and value:
                shards = b",\n".join(compact_json(shard) for shard in value)
                text = b"[\n" + shards + b"\n]"
            else:
                text = compact_json(value, sort_keys=name == "config" or name in self.extra)
            lines.append(compact_json(name) + b":" + text)
        return b"{\n" + b",\n".join(lines) + b"\n}\n"

    @classmethod
    def from_json(cls, value: Mapping[str, Any], root: str) -> "Manifest":
        """Read parsed JSON in which `root_problems` found none."""
        known = {field.name for field in dataclasses.fields(cls)} - {"root", "tars", "extra"}
        derived = {"kind", "schema_version", "digest", "config_digest", "key_digits", "totals"}
        fields = {name: value[name] for name in value if name in known}
        return cls(
            root=root,
            extra={name: value[name] for name in value if name not in known | derived},
            **fields
            | {
                "parents": tuple(value["parents"]),
                "files": tuple(_listed(file) for file in value["files"]),
                "shards": tuple(ShardRecord.from_json(shard) for shard in value["shards"]),
            },
        )


def _listed(value: Mapping[str, Any]) -> ListedFile:
    known = {name: value[name] for name in LISTED_FIELDS}
    extra = {name: value[name] for name in value if name not in known}
    return ListedFile(**known, extra=extra)


def tool_record() -> dict[str, Any]:
    """Return what a manifest says of the program that makes it."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"name": "openwit", "version": __version__, "git": None, "libraries": libraries}


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the sha256 of settings: of their JSON with sorted keys and no blanks."""
    return hashlib.sha256(compact_json(config, sort_keys=True)).hexdigest()


def dataset_folder(uri: str) -> str:
    """Return the folder of a dataset that is given as folder or as its `manifest.json`."""
    folder = uri.removesuffix("/" + ROOT_NAME) if uri != ROOT_NAME else "."
    return folder.rstrip("/") or folder


def load(uri: str) -> Manifest:
    """Load and validate a dataset's root.

    Args:
        uri: the folder or its `manifest.json`, a local path or an fsspec URI.

    Raises:
        RefusedError: if it is missing or inconsistent; the message lists every problem.
    """
    root = dataset_folder(uri)
    return parse_manifest(read_root(root), root)


def parse_manifest(data: bytes, root: str) -> Manifest:
    """Read the bytes of a `manifest.json`, of the dataset in the folder `root`.

    Raises:
        RefusedError: if it is not one; the message lists every problem.
    """
    path = storage.join(root, ROOT_NAME)
    with _collector_paused():
        value, problems = parse_root(data, path)
        problems = problems + root_problems(value)
        if problems:
            raise RefusedError("\n".join(f"{path} {describe(problem)}" for problem in problems))
        return Manifest.from_json(value, root)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's cycle collector off objects that all stay: a third of the time of a load."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def describe(finding: Finding) -> str:
    """Return a finding as text: place, message, and the two values that disagree."""
    text = f"{finding.path}: {finding.message}" if finding.path else finding.message
    if finding.actual:
        text += f": found {finding.actual}"
    return f"{text}, expected {finding.expected}" if finding.expected and finding.actual else text


def read_root(root: str) -> bytes:
    """Return the bytes of the `manifest.json` in a folder.

    Raises:
        RefusedError: if it is missing or too large.
    """
    path = storage.join(root, ROOT_NAME)
    size = storage.size_bytes(path)
    if size is None:
        way = "name a dataset's folder; its manifest is written last, so run the command that was"
        way += " to write it again"
        if storage.size_bytes(storage.join(root, shard_name(0, "json"))) is not None:
            way += "; or rebuild it: openwit-manifest build --from records"
        raise RefusedError(f"{path}: no such file: {way}")
    if size > MAX_ROOT_BYTES:
        raise RefusedError(f"{path}: {size} bytes: a manifest has at most {MAX_ROOT_BYTES}")
    with storage.open_read(path) as file:
        return file.read()


def parse_root(data: bytes, path: str) -> tuple[dict[str, Any], list[Finding]]:
    """Parse JSON strictly: keys that are repeated and numbers that JSON has not are problems.

    Raises:
        RefusedError: if it is not JSON at all, or of another kind or version.
    """
    problems = Problems()

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            for name in sorted({name for name in names if names.count(name) > 1}):
                problems.add(name, "the key occurs twice in one object")
        return value

    def refuse(name: str) -> None:
        problems.add("", "is not a JSON number", actual=name)

    try:
        value = json.loads(data, object_pairs_hook=build, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: not JSON: {error}: copy it again") from None
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise RefusedError(f'{path}: its "kind" is not "{KIND}": name a dataset of openwit')
    version = value.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise RefusedError(
            f"{path}: schema_version {version!r}: this openwit reads version {SCHEMA_VERSION}; "
            "use the version that wrote it"
        )
    return value, problems.found


def commit(
    root: str,
    manifest: Manifest,
    *,
    write: Callable[[str, bytes], None] = storage.write_atomic,
) -> None:
    """Write `manifest.json`, which makes the dataset exist, atomically.

    Args:
        root: folder or URI of the dataset.
        manifest: what it says.
        write: puts a small file in place, whole or not at all.

    Raises:
        OpenwitError: if the manifest could not be loaded again; nothing is written then.
    """
    problems = root_problems(manifest.to_json())
    if problems:
        listed = "\n".join(describe(problem) for problem in problems)
        raise OpenwitError(f"{root}: the manifest is inconsistent, nothing was written:\n{listed}")
    write(storage.join(root, ROOT_NAME), manifest.to_bytes())
