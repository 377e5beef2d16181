"""Writes one shard: tar, Parquet, record, in this order, each appearing whole or not at all."""

import dataclasses
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from manifests.base.storage import NewFile, OpenNew, join, new_file
from manifests.format.naming import IMAGE_EXT, format_key, shard_name
from manifests.format.records import ShardRecord, StoredFile
from manifests.format.schema import DICTIONARY, OFFSET_COLUMNS, SAMPLES, json_members
from manifests.format.table import ZSTD_LEVEL, TableWriter
from manifests.format.tar import TarWriter

MAX_TEXT_BYTES = 1 << 16
"""Longest caption, provisional; longer ones mean that normalisation upstream is broken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What all shards of a dataset share."""

    spec: str | None = None
    samples_per_shard: int = 10_000
    row_group_rows: int = 10_000
    zstd_level: int = ZSTD_LEVEL
    schema: pa.Schema = SAMPLES
    """The columns of the shards, `key` and the offsets among them."""

    def __post_init__(self) -> None:
        if not 1 <= self.samples_per_shard <= 1_000_000:
            raise ValueError(
                f"samples_per_shard must be from 1 to 1000000, got {self.samples_per_shard}"
            )
        if self.row_group_rows < 1:
            raise ValueError(f"row_group_rows must be at least 1, got {self.row_group_rows}")
        if not 1 <= self.zstd_level <= 19:
            raise ValueError(f"zstd_level must be from 1 to 19, got {self.zstd_level}")

    @property
    def given_schema(self) -> pa.Schema:
        """The columns that samples come with: all but those that the writer fills."""
        filled = ("key", *OFFSET_COLUMNS)
        return pa.schema([field for field in self.schema if field.name not in filled])


@dataclasses.dataclass(frozen=True)
class Samples:
    """Some consecutive samples of a shard, in pair-id order."""

    rows: pa.RecordBatch
    """The columns of the layout's `given_schema`."""
    images: Sequence[bytes]
    texts: Sequence[bytes] | None = None
    """The text members, when they are copied from another dataset; else made from `caption`."""
    jsons: Sequence[bytes | None] | None = None
    """The JSON members, likewise; None where a sample has none."""
    keys: Sequence[str] | None = None
    """Their keys, ascending, when a shard is cut down in place; else they are numbered."""


class ShardWriter:
    """Turns samples into the three files of a shard; holds one row group, and no image."""

    def __init__(
        self,
        shard: int,
        root: str,
        samples: Iterable[Samples],
        *,
        layout: Layout,
        revision: int = 0,
        open_new: OpenNew = new_file,
    ) -> None:
        """Prepare to write shard number `shard` below the dataset folder `root`.

        Args:
            shard: the number; its keys begin at `shard * layout.samples_per_shard`.
            root: folder or URI of the dataset.
            samples: windows of samples; their cuts change no byte.
            layout: what all shards share.
            revision: that of the dataset; part of the names of files that are written anew.
            open_new: opens files, by default through fsspec.
        """
        self._shard = shard
        self._root = root
        self._samples = samples
        self._layout = layout
        self._open_new = open_new
        self._revision = revision
        self._rows = 0
        self._last_id = ""
        self._first_id = ""
        self._last_key = ""
        self._first_key = ""

    def write(self) -> ShardRecord:
        """Write the files and return what the manifest lists.

        Raises:
            ValueError: if a sample breaks the contract (order, caption, schema); names the pair.
            OSError: if the disk fails; nothing stays under a final name but complete files.
        """
        folder = join(self._root, "shards")
        schema = self._layout.schema
        with self._open_new(folder) as tar_file, self._open_new(folder) as table_file:
            tar = TarWriter(tar_file)
            table = TableWriter(
                table_file,
                schema,
                row_group_rows=self._layout.row_group_rows,
                zstd_level=self._layout.zstd_level,
                dictionary=DICTIONARY,
            )
            for samples in self._samples:
                if samples.rows.num_rows:
                    table.write(self._add(tar, samples, schema))
            if not self._rows:
                raise ValueError(f"shard {self._shard} must have at least one sample, got 0")
            tar.close()
            table.close()
            tar_entry = self._publish(tar_file, "tar")
            table_entry = self._publish(table_file, "parquet")
        record = self._record(tar_entry, table_entry)
        with self._open_new(folder) as file:
            file.write(record.file_bytes(self._layout.spec))
            self._publish(file, "json")
        return record

    def _add(self, tar: TarWriter, samples: Samples, schema: pa.Schema) -> pa.RecordBatch:
        rows = samples.rows
        self._check(samples)
        texts, jsons = samples.texts, samples.jsons
        if texts is None:
            texts = [text.encode() for text in rows.column("caption").to_pylist()]
        if jsons is None:
            jsons = json_members(rows)
        keys = samples.keys or [self._key(self._rows + index) for index in range(rows.num_rows)]
        if self._last_key >= keys[0]:
            raise ValueError(f"keys must ascend, got {keys[0]} after {self._last_key}")
        self._first_key, self._last_key = self._first_key or keys[0], keys[-1]
        offsets: dict[str, list[int | None]] = {name: [] for name in OFFSET_COLUMNS}
        for key, image, text, data in zip(keys, samples.images, texts, jsons, strict=True):
            members = {"image": (IMAGE_EXT, image), "text": ("txt", text)}
            for name, (ext, content) in members.items():
                offsets[f"{name}_offset"].append(tar.add(f"{key}.{ext}", content))
                offsets[f"{name}_bytes"].append(len(content))
            offsets["json_offset"].append(
                tar.add(f"{key}.json", data) if data is not None else None
            )
            offsets["json_bytes"].append(len(data) if data is not None else None)
        self._rows += rows.num_rows
        columns = {"key": pa.array(keys, pa.string())} | {
            name: pa.array(values, schema.field(name).type) for name, values in offsets.items()
        }
        return pa.RecordBatch.from_arrays(
            [columns[field.name] if field.name in columns else rows.column(field.name)
             for field in schema],
            schema=schema,
        )  # fmt: skip

    def _check(self, samples: Samples) -> None:
        rows = samples.rows
        ids = rows.column("pair_id").to_pylist()
        for before, after in zip([self._last_id, *ids], ids, strict=False):
            if before >= after:
                raise ValueError(f"pair ids must ascend, got {after} after {before}")
        self._first_id = self._first_id or ids[0]
        self._last_id = ids[-1]
        captions = rows.column("caption")
        bad = pc.or_(
            pc.match_substring(captions, "\0"),
            pc.greater(pc.binary_length(captions), MAX_TEXT_BYTES),
        )
        if pc.any(bad).as_py():
            first = pc.index(bad, True).as_py()
            raise ValueError(
                f"caption of pair {ids[first]} must be at most {MAX_TEXT_BYTES} bytes without "
                f"NUL, got {captions[first].as_py()[:80]!r}"
            )
        if self._rows + rows.num_rows > self._layout.samples_per_shard:
            raise ValueError(
                f"shard {self._shard} must have at most {self._layout.samples_per_shard} samples, "
                f"got {self._rows + rows.num_rows}"
            )

    def _key(self, position: int) -> str:
        return format_key(self._shard * self._layout.samples_per_shard + position)

    def _publish(self, file: NewFile, ext: str) -> StoredFile:
        name = shard_name(self._shard, ext, self._revision)
        entry = StoredFile(name, file.bytes, file.sha256)
        file.publish(join(self._root, name))
        return entry

    def _record(self, tar: StoredFile, parquet: StoredFile) -> ShardRecord:
        return ShardRecord(
            id=self._shard,
            samples=self._rows,
            key_first=self._first_key,
            key_last=self._last_key,
            pair_id_min=self._first_id,
            pair_id_max=self._last_id,
            tar=tar,
            parquet=parquet,
        )
