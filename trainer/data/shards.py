"""The shards of a dataset, as the trainer needs them; alone names columns of the Parquet files."""

import binascii
import collections
import dataclasses
import math
import threading
from collections.abc import Callable
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base.console import progress
from manifests.base.errors import OpenwitError
from manifests.format.manifest import Manifest
from manifests.format.records import Finding, ShardRecord
from manifests.format.schema import ALTERNATE
from trainer.data.balance import Balance, drawn
from trainer.data.order import Last, hash64

Verify = Literal["auto", "none", "size", "first-use", "sha256"]
Text = Literal["caption", "hash"]
TextMask = Literal["none", "random", "simple", "shuffle"]
PILLOW_MAX_PIXELS = 89_478_485
MAX_SHOWN = 20
EVERY_EPOCH = -1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which samples are trained on, in which order, and how they are read."""

    manifest: str
    """Folder or `manifest.json` of the dataset; relative to the folder of the configuration."""
    workers: int = -1
    """Processes that read and decode, per rank; 0 does it in the training process, -1 starts up to
    4, as the machine has cores for."""
    prefetch: int = 2
    """Chunks made ahead per worker; torch's default."""
    open_shards: int = 16
    """Shards whose samples are shuffled together; provisional."""
    last: Last = "carry"
    """The batch that ends an epoch: filled from the next one (`carry`), or left out (`drop`)."""
    text: Text = "caption"
    """A sample's caption, or one of caption and alternates, drawn anew in each epoch (`hash`)."""
    text_mask: TextMask = "none"
    """Which words of a text longer than the model takes are left out: the last ones (`none`), or
    as open_clip's masks of these names."""
    verify: Verify = "auto"
    """What is compared with the manifest: contents before step 0 (`sha256`) or when a shard is
    first opened (`first-use`), or sizes. `auto`: `sha256`, or `first-use` for a large dataset."""
    verify_full_below_gb: float = 64.0
    """Size up to which `auto` means `sha256`; provisional."""
    crop_scale: tuple[float, ...] = (0.9, 1.0)
    """Least and largest share of an image's area that a random crop keeps; open_clip's."""
    max_pixels: int = PILLOW_MAX_PIXELS
    """Width times height of an image to decode; Pillow's limit, which is also the most."""

    def __post_init__(self) -> None:
        for name, least in (("workers", -1), ("prefetch", 1), ("open_shards", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.verify_full_below_gb < math.inf:
            raise ValueError(
                f"verify_full_below_gb must be at least 0, got {self.verify_full_below_gb}"
            )
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
    alternates: pa.Array
    """Further texts of each image, with where they were found."""
    pair_ids: pa.Array
    image_hashes: pa.Array
    """sha256 of the image, 64 hexadecimal digits."""
    query_ids: pa.ListArray


COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("pair_id", pa.string()),
        ("caption", pa.string()),
        ("alternates", pa.list_(ALTERNATE)),
        ("sha256", pa.string()),
        ("query_ids", pa.list_(pa.int32())),
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
        alternates=columns["alternates"],
        pair_ids=columns["pair_id"],
        image_hashes=columns["sha256"],
        query_ids=columns["query_ids"],
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

    def __init__(
        self,
        manifest: Manifest,
        *,
        seed: int,
        keep: int,
        balance: Balance | None = None,
        check: Callable[[ShardRecord], None] | None = None,
    ) -> None:
        """Read shards of `manifest`.

        Args:
            manifest: the dataset.
            seed: of the run.
            keep: how many are held here, at most.
            balance: which pairs take part in an epoch; all by default.
            check: what is done before a shard is read for the first time; may refuse it.
        """
        self._balance = balance
        self._check = check
        self._checked = set[int]()
        self._manifest = manifest
        self._seed = seed
        self._keep = keep
        self._records = {shard.id: shard for shard in manifest.shards}
        self._tables = collections.OrderedDict[int, ShardTable]()
        self._lock = threading.Lock()
        self._sums: dict[tuple[int, int], int] = {}

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
                if self._check and shard not in self._checked:
                    self._check(self._records[shard])
                    self._checked.add(shard)
                table = read_shard(self._manifest, self._records[shard], seed=self._seed)
                total = int(table.prints.sum(dtype=np.uint64))
                self._sums[EVERY_EPOCH, shard] = total  # stays when the shard is let go
            self._tables[shard] = table
        return table

    def kept(self, epoch: int, shard: int) -> NDArray[np.bool_]:
        """Return which samples of a shard take part in an epoch, shape (samples,)."""
        table = self.read(shard)
        if self._balance is None:
            return np.ones(len(table.ids), np.bool_)
        chances = self._balance.probabilities(table.query_ids)
        kept = drawn(chances, table.ids, seed=self._seed, epoch=epoch)
        self._sums[epoch, shard] = int(table.prints[kept].sum(dtype=np.uint64))
        return kept

    def print_sum(self, epoch: int, shard: int) -> int:
        """Return the sum of `prints` of the samples of a shard that take part in an epoch."""
        key = (epoch if self._balance else EVERY_EPOCH, shard)
        if key not in self._sums:
            self.kept(epoch, shard)
        return self._sums[key]

    def forget(self, epoch: int) -> None:
        """Let go what is kept of an epoch that has ended."""
        kept = [each for each in list(self._sums.items()) if not 0 <= each[0][0] <= epoch]
        self._sums = dict(kept)


def expected_samples(manifest: Manifest, balance: Balance) -> float:
    """Return how many samples an epoch has on average; reads the query ids of all.

    Raises:
        OpenwitError: if a shard cannot be read, or names a query that is not in the list.
    """
    expected = 0.0
    with progress("balance", len(manifest.shards)) as shown:
        for done, shard in enumerate(manifest.shards, 1):
            table = manifest.reader(shard).table(["query_ids"])
            queries = table["query_ids"].cast(COLUMNS.field("query_ids").type).combine_chunks()
            expected += float(balance.probabilities(queries).sum())
            shown.update(done, done)
    return expected


def verify_level(manifest: Manifest, settings: DataConfig) -> Verify:
    """Return what `settings.verify` means for a dataset: anything but `auto`."""
    if settings.verify != "auto":
        return settings.verify
    total = sum(shard.tar.bytes + shard.parquet.bytes for shard in manifest.shards)
    return "sha256" if total <= settings.verify_full_below_gb * 1e9 else "first-use"


def check_shard(manifest: Manifest, shard: ShardRecord, verify: Verify) -> list[Finding]:
    """Compare one shard with the manifest, as thoroughly as is done with it before step 0."""
    reader = manifest.reader(shard)
    if verify == "none":
        return reader.check_footer()
    if verify in ("size", "first-use"):
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
