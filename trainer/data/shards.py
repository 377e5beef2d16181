"""The shards of a dataset, as the trainer needs them; alone names columns of the Parquet files."""

import binascii
import collections
import dataclasses
import threading
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base.errors import OpenwitError
from manifests.format.manifest import Manifest
from manifests.format.records import Finding, ShardRecord
from trainer.data.order import Last, hash64

Verify = Literal["none", "size", "sha256"]
PILLOW_MAX_PIXELS = 89_478_485
MAX_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which samples are trained on, in which order, and how they are read."""

    manifest: str
    """Folder or `manifest.json` of the dataset; relative to the folder of the configuration."""
    workers: int = 4
    """Processes that read and decode, per rank; 0 does it in the training process."""
    prefetch: int = 2
    """Chunks made ahead per worker; torch's default."""
    open_shards: int = 16
    """Shards whose samples are shuffled together; provisional."""
    last: Last = "carry"
    """The batch that ends an epoch: filled from the next one (`carry`), or left out (`drop`)."""
    verify: Verify = "sha256"
    """What is compared with the manifest before step 0; row counts always are."""
    crop_scale: tuple[float, ...] = (0.9, 1.0)
    """Least and largest share of an image's area that a random crop keeps; open_clip's."""
    max_pixels: int = PILLOW_MAX_PIXELS
    """Width times height of an image to decode; Pillow's limit, which is also the most."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("prefetch", 1), ("open_shards", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if len(self.crop_scale) != 2 or not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(
                f"crop_scale must be two numbers above 0 and up to 1, the smaller first, "
                f"got {list(self.crop_scale)}"
            )
        if not 1 <= self.max_pixels <= PILLOW_MAX_PIXELS:
            raise ValueError(
                f"max_pixels must be from 1 to {PILLOW_MAX_PIXELS}, got {self.max_pixels}"
            )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ShardTable:
    """Columns of one shard, in the order of its tar; arrays have shape (samples,)."""

    tar_path: str
    ids: NDArray[np.uint64]
    """First 8 bytes of the pair id, little-endian."""
    keys: NDArray[np.str_]
    offsets: NDArray[np.int64]
    """Byte offset of the image in the tar."""
    lengths: NDArray[np.int64]
    """Bytes of the image."""
    prints: NDArray[np.uint64]
    """`h(sample, 0, id)`: their sums tell whether an epoch used every sample once."""
    captions: pa.Array
    pair_ids: pa.Array
    image_hashes: pa.Array
    """sha256 of the image, 64 hexadecimal digits."""


COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("pair_id", pa.string()),
        ("caption", pa.string()),
        ("sha256", pa.string()),
        ("image_offset", pa.int64()),
        ("image_bytes", pa.int64()),
    ]
)


def read_shard(manifest: Manifest, shard: ShardRecord, *, seed: int = 0) -> ShardTable:
    """Read the columns of one shard.

    Raises:
        OpenwitError: if the file is missing or does not hold what the manifest says.
    """
    reader = manifest.reader(shard)
    try:
        table = reader.table(COLUMNS.names).cast(COLUMNS)
    except pa.ArrowException as error:
        raise OpenwitError(f"{reader.parquet_path}: {error}: verify the dataset") from error
    columns = {name: table[name].combine_chunks() for name in COLUMNS.names}
    ids = pair_numbers(columns["pair_id"], path=reader.parquet_path)
    return ShardTable(
        tar_path=reader.tar_path,
        ids=ids,
        keys=np.array(columns["key"].to_pylist(), dtype=np.str_),
        offsets=columns["image_offset"].fill_null(0).to_numpy(),
        lengths=columns["image_bytes"].fill_null(0).to_numpy(),  # 0 is a sample cut short
        prints=hash64("sample", seed, 0, ids),
        captions=columns["caption"],
        pair_ids=columns["pair_id"],
        image_hashes=columns["sha256"],
    )


def pair_numbers(pair_ids: pa.Array, *, path: str = "pair_id") -> NDArray[np.uint64]:
    """Return the first 8 bytes of each pair id, given as 32 hexadecimal digits.

    Raises:
        OpenwitError: if one is something else.
    """
    texts = pair_ids.to_pylist()
    try:
        data = binascii.unhexlify("".join(texts))
        is_sound = all(len(text) == 32 for text in texts)
    except (TypeError, ValueError):  # a null; other characters
        is_sound = False
    if not is_sound:
        raise OpenwitError(f"{path}: a pair id is not 32 hexadecimal digits: verify the dataset")
    return np.frombuffer(data, "<u8").reshape(-1, 2)[:, 0].astype(np.uint64)


class ShardTables:
    """Reads shards on demand and keeps the ones used last; safe to call from a thread."""

    def __init__(self, manifest: Manifest, *, seed: int, keep: int) -> None:
        """Read shards of `manifest`, at most `keep` of them held here."""
        self._manifest = manifest
        self._seed = seed
        self._keep = keep
        self._records = {shard.id: shard for shard in manifest.shards}
        self._tables = collections.OrderedDict[int, ShardTable]()
        self._lock = threading.Lock()
        self._sums: dict[int, int] = {}

    @property
    def samples(self) -> dict[int, int]:
        """Samples by shard id."""
        return {shard: record.samples for shard, record in self._records.items()}

    def read(self, shard: int) -> ShardTable:
        """Return the columns of a shard.

        Raises:
            OpenwitError: if the shard is not what the manifest says.
        """
        with self._lock:
            table = self._tables.pop(shard, None)
            if table is None:
                while len(self._tables) >= self._keep:
                    self._tables.popitem(last=False)
                table = read_shard(self._manifest, self._records[shard], seed=self._seed)
                self._sums[shard] = int(table.prints.sum(dtype=np.uint64))
            self._tables[shard] = table
        return table

    def print_sum(self, shard: int) -> int:
        """Return the sum of a shard's `prints` mod 2^64; it is kept when the shard is let go."""
        if shard not in self._sums:
            self.read(shard)
        return self._sums[shard]


def check_shard(manifest: Manifest, shard: ShardRecord, verify: Verify) -> list[Finding]:
    """Compare one shard with the manifest, as thoroughly as `verify` says."""
    reader = manifest.reader(shard)
    if verify == "none":
        return reader.check_footer()
    if verify == "size":
        return reader.check("fast") or reader.check_footer()
    return reader.check("sha256")


def refuse_findings(manifest: Manifest, findings: list[Finding]) -> None:
    """Raise with path, expected and found of each finding, if there is one.

    Raises:
        OpenwitError: naming the first 20.
    """
    if not findings:
        return
    lines = [
        f"{manifest.path(each.path)}: {each.message}: "
        f"expected {each.expected or 'a readable file'}, found {each.actual or 'none'}"
        for each in findings[:MAX_SHOWN]
    ]
    if len(findings) > MAX_SHOWN:
        lines.append(f"and {len(findings) - MAX_SHOWN} more")
    lines.append(f"{manifest.root}: copy it again, or run openwit-manifest verify")
    raise OpenwitError("\n".join(lines))
