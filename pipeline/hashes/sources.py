"""Where a set's hashes come from: image files, or the rows of a dataset that has them already."""

import dataclasses
import io
import pathlib
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from filters.hashes.canonical import DECODE_PX, reduced, upright_rgb
from filters.verdict import Drop
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.ids import hex_text
from manifests.format.manifest import Manifest, load
from manifests.format.naming import ROOT_NAME
from manifests.format.schema import DEDUP_COLUMNS
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord, folder_of, stage_path
from pipeline.fetch.decode import decode, decode_scale, open_image
from pipeline.fetch.sniff import sniff
from pipeline.hashes.columns import bytes_of, fixed
from pipeline.hashes.files import HASHES

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".avif"),
    *(".bmp", ".tif", ".tiff", ".ppm"),
)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
BYTES_COLUMNS = ("image", "image_bytes", "bytes", "jpg", "img")
_FORMATS = ("jpeg", "png", "gif", "webp", "avif")
_KEPT_COLUMNS = ["pair_id", "phash", "original_sha256", "original_width", "original_height"]


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image of a source, and its name there."""

    item: str
    body: bytes


def is_dataset(source: str) -> bool:
    """Tell whether a source is the folder or the manifest of a dataset."""
    if source.endswith((*TAR_ENDINGS, ".parquet")):
        return False
    folder = source.removesuffix(f"/{ROOT_NAME}")
    return files.size_bytes(files.join(folder, ROOT_NAME)) is not None


def image_files(source: str) -> Iterator[ImageFile]:
    """Yield the images of a folder, a tar, a Parquet file or a dataset, in the order of names.

    Raises:
        RefusedError: if the source is none of these, or missing.
    """
    path = pathlib.Path(source)
    if is_dataset(source):
        yield from _samples(load(source))
    elif path.is_dir():
        names = (each for each in path.rglob("*") if each.suffix.lower() in IMAGE_ENDINGS)
        for each in sorted(names, key=lambda name: name.relative_to(path).as_posix()):
            yield ImageFile(each.relative_to(path).as_posix(), each.read_bytes())
    elif source.endswith(TAR_ENDINGS) and path.is_file():
        yield from _tar_members(path)
    elif source.endswith(".parquet") and path.is_file():
        yield from _parquet_rows(path)
    else:
        raise RefusedError(
            f"{source}: no folder of images, tar, Parquet file or dataset: check the path"
        )


def canonical_image(body: bytes) -> tuple[Image.Image, int, int]:
    """Decode an image as `fetch` does; return the image to hash, and its width and height.

    Raises whatever Pillow raises on a broken file.
    """
    name = sniff(body, _FORMATS)
    if isinstance(name, Drop):  # a format that fetch does not take, but an evaluation set may have
        image = Image.open(io.BytesIO(body))
        image.load()
        upright = upright_rgb(image)
        return reduced(upright), *upright.size
    opened = open_image(body, name)
    decoded = decode(opened, name, decode_scale(opened, name, DECODE_PX))
    return reduced(decoded.rgb, decoded.full_px), *decoded.full_px


def dataset_rows(source: str, stages: str = "") -> Iterator[tuple[pa.Table, str]]:
    """Yield the hashes of a dataset's samples as `HASHES`, with their hash version.

    Args:
        source: folder or manifest of the dataset.
        stages: ROOT of the run that made it; its rows are read if the samples have no hashes.

    Raises:
        RefusedError: if neither has hashes.
    """
    manifest = load(source)
    names = {column["name"] for column in manifest.schema}
    if set(DEDUP_COLUMNS) <= names:
        version = str((manifest.hash or {}).get("version"))
        for shard in manifest.shards:
            table = manifest.reader(shard).table([*_KEPT_COLUMNS, *DEDUP_COLUMNS])
            yield _hash_rows(table, table["pair_id"], manifest.name), version
        return
    if not stages:
        raise RefusedError(
            f"{source}: its samples have no hashes (shards.dedup_columns = false): give the ROOT "
            "of its run with --stages"
        )
    wanted = pa.concat_arrays(
        [
            manifest.reader(shard).table(["pair_id"])["pair_id"].combine_chunks()
            for shard in manifest.shards
        ]
    )
    for path in _deduped(manifest, stages).paths("part"):
        with files.open_read(path) as file:
            table = pq.read_table(file, columns=[*_KEPT_COLUMNS, *DEDUP_COLUMNS, "hash_version"])
        items = hex_text(table["pair_id"].combine_chunks())
        kept = pc.is_in(items, wanted)
        table, items = table.filter(kept), items.filter(kept)
        for version in table["hash_version"].unique().to_pylist():
            mine = pc.equal(table["hash_version"], version)
            yield _hash_rows(table.filter(mine), items.filter(mine), manifest.name), version


def _deduped(manifest: Manifest, root: str) -> StageRecord:
    """Follow the records of the run from its shards to the step `dedup`."""
    folders = [folder_of("shards", str(manifest.spec))]
    while folders:
        path = stage_path(root, folders.pop(0))
        if files.size_bytes(path) is None:
            break
        record = StageRecord.from_bytes(files.read_bytes(path), root=root, path=path)
        if record.step == "dedup":
            return record
        folders.extend(record.upstream)
    raise RefusedError(f"{root}: no run that made {manifest.root}: check --stages")


def _hash_rows(table: pa.Table, items: pa.Array | pa.ChunkedArray, name: str) -> pa.Table:
    """Return the rows of images, and those of the same without their borders."""
    sha256 = table["original_sha256"]
    if pa.types.is_string(sha256.type):
        data = bytes.fromhex("".join(value or "0" * 64 for value in sha256.to_pylist()))
        sha256 = fixed(np.frombuffer(data, np.uint8).reshape(-1, 32))
    columns = {
        "set": pa.repeat(name, table.num_rows),
        "item": items,
        "variant": pa.repeat("id", table.num_rows),
        "sha256": sha256,
        "width": table["original_width"],
        "height": table["original_height"],
        **{each: table[each] for each in HASHES.names if each in table.column_names},
    }
    whole = pa.table([columns[each] for each in HASHES.names], names=HASHES.names).cast(HASHES)
    rows = np.flatnonzero(np.array(table["dedup_trim"].combine_chunks().is_valid()))
    trim = bytes_of(table["dedup_trim"])[rows]
    second = whole.take(pa.array(rows))
    changed = {
        "variant": pa.repeat("trim", len(rows)),
        "dedup_hash": fixed(trim[:, :64]),
        "dedup_chroma": fixed(trim[:, 64:96]),
        "dedup_flags": pa.array(trim[:, 96]),
        "phash": pa.nulls(len(rows), pa.string()),
    }
    for each, column in changed.items():
        place = HASHES.get_field_index(each)
        second = second.set_column(place, HASHES.field(each), column)
    return pa.concat_tables([whole, second])


def _samples(manifest: Manifest) -> Iterator[ImageFile]:
    for shard in manifest.shards:
        reader = manifest.reader(shard)
        for row, item in enumerate(reader.table(["pair_id"])["pair_id"].to_pylist()):
            yield ImageFile(item, reader.read([row])[0])


def _tar_members(path: pathlib.Path) -> Iterator[ImageFile]:
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(IMAGE_ENDINGS):
                    file = tar.extractfile(member)
                    yield ImageFile(f"{path.name}/{member.name}", file.read() if file else b"")
    except tarfile.TarError as error:
        raise OpenwitError(f"{path}: not a whole tar: {error}") from None


def _parquet_rows(path: pathlib.Path) -> Iterator[ImageFile]:
    parquet = pq.ParquetFile(path)
    name = next((name for name in BYTES_COLUMNS if name in parquet.schema_arrow.names), None)
    if name is None:
        raise RefusedError(f"{path}: no column of image bytes: known are {_listed(BYTES_COLUMNS)}")
    number = 0
    for batch in parquet.iter_batches(64, columns=[name]):
        for value in batch[name].to_pylist():
            body = value.get("bytes") if isinstance(value, dict) else value
            yield ImageFile(f"{path.name}/{number}", body or b"")
            number += 1


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
