"""`openwit-pipeline hashes build`: the images of a set to a hash file."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from PIL import ImageOps

from filters.hashes.perceptual import record, self_test
from manifests.base.console import progress
from manifests.base.errors import ExitCode, OpenwitError, RefusedError
from pipeline.hashes.files import HASHES, KINDS, HashFile, variant_rows, write_hashes
from pipeline.hashes.sources import (
    ImageFile,
    canonical_image,
    dataset_rows,
    image_files,
    is_dataset,
)


def build_hashes(
    sources: Sequence[str],
    *,
    name: str,
    out: str,
    kind: str = "eval",
    stages: str = "",
    skip_bad: bool = False,
) -> HashFile:
    """Hash the images of a set and write its hash file.

    Evaluation sets and block lists are hashed mirrored as well. Of a published dataset the hashes
    of its samples are taken, no image is decoded.

    Args:
        sources: folders of images, tars, Parquet files with image bytes, or datasets.
        name: of the set, as the ledger shows it.
        out: the file to write.
        kind: `eval`, `block` or `published`.
        stages: ROOT of the run that made a dataset, if its samples have no hashes.
        skip_bad: whether images that cannot be read are counted, not an error.

    Raises:
        RefusedError: if a source is none, or a name is.
        OpenwitError: if images cannot be read, all of them named.
    """
    if kind not in KINDS:
        raise RefusedError(f"--kind {kind}: not a kind: known are {', '.join(KINDS)}")
    if not name or ":" in name:
        raise RefusedError(f"--set {name}: must be a name without a colon")
    if kind == "published":
        if not all(map(is_dataset, sources)):
            raise RefusedError("--kind published: takes datasets: name folders with manifest.json")
        return _published(sources, name, out, stages)
    version = _version()
    rows: list[dict[str, Any]] = []
    bad: list[str] = []
    with progress("hashes", len(sources)) as shown:
        for done, source in enumerate(sources):
            for image in image_files(source):
                shown.update(done, len(rows))
                try:
                    rows.extend(_rows(image, name))
                except MemoryError:
                    raise  # says something of this machine, nothing of the image
                except Exception as error:  # Pillow raises nearly everything on broken files
                    bad.append(f"{image.item}: {type(error).__name__}: {error}")
    if bad and not skip_bad:
        failure = OpenwitError("\n".join([*bad, f"{len(bad)} images: mend them, or --skip-bad"]))
        failure.exit_code = ExitCode.FINDINGS
        raise failure
    return _written(out, pa.Table.from_pylist(rows, schema=HASHES), kind, version, len(bad))


def _published(sources: Sequence[str], name: str, out: str, stages: str) -> HashFile:
    tables, versions = [HASHES.empty_table()], set()
    for source in sources:
        for table, version in dataset_rows(source, stages):
            named = pa.repeat(name, table.num_rows)
            tables.append(table.set_column(0, HASHES.field("set"), named))
            versions.add(version)
    if len(versions) > 1:
        raise RefusedError(
            f"hash versions {', '.join(sorted(versions))}: make one hash file of each dataset"
        )
    return _written(out, pa.concat_tables(tables), "published", "".join(versions), 0)


def _written(out: str, table: pa.Table, kind: str, version: str, bad: int) -> HashFile:
    if not table.num_rows:
        raise RefusedError(f"{out}: not written: the sources hold no image")
    return write_hashes(out, table, kind=kind, hash_version=version, bad=bad)


def _rows(image: ImageFile, name: str) -> list[dict[str, Any]]:
    """Return the rows of an image: as it is and mirrored, each with and without its borders."""
    canonical, width, height = canonical_image(image.body)
    common = {
        "set": name,
        "item": image.item,
        "sha256": hashlib.sha256(image.body).digest(),
        "width": width,
        "height": height,
    }
    return [{**common, **row} for row in _variants(canonical)]


def _variants(canonical: Any) -> Iterator[dict[str, object]]:
    yield from variant_rows(record(canonical))
    yield from variant_rows(record(ImageOps.mirror(canonical)), mirrored=True)


def _version() -> str:
    try:
        return self_test()
    except ValueError as error:
        raise RefusedError(f"hashes: {error}") from None
