"""Perceptual hashes of stored images; the pipeline's own rule is the oracle."""

import io
from collections.abc import Callable
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from filters.hashes.canonical import canonical, dct_scale
from manifests.format import Manifest
from manifests.format.checks.hashes import hash_problem
from tests.manifests.damage import Copy, change_row

MakeDataset = Callable[..., Manifest]


def picture(width: int, height: int, turn: int = 1) -> bytes:
    """A JPEG with structure at all scales, and an EXIF orientation."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [x * 255 // width, (x * y // 97) % 256, (x + 2 * y) % 256]
    image = Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def oracle(data: bytes) -> str:
    """The hash that the pipeline would give."""
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    scale = dct_scale(width, height)
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    turned = image.getexif().get(0x0112, 1) >= 5
    return str(imagehash.phash(canonical(image, (height, width) if turned else (width, height))))


@pytest.mark.parametrize("size", [(24, 16), (256, 300), (511, 700), (1025, 1400), (2600, 2100)])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_the_hash_is_that_of_the_pipeline(size: tuple[int, int], turn: int) -> None:
    data = picture(*size, turn)
    row = {"phash": oracle(data), "reencoded": False}
    assert hash_problem(data, row, "original") == ("", "")


@pytest.mark.parametrize(
    ("bits", "reencoded", "basis", "is_found"),
    [
        (1, False, "original", True),
        (1, True, "stored", True),
        (10, True, "original", False),
        (40, True, "original", True),
    ],
)
def test_a_copy_may_differ_from_its_original_by_some_bits(
    bits: int, reencoded: bool, basis: str, is_found: bool
) -> None:
    data = picture(300, 256)
    told = f"{int(oracle(data), 16) ^ (2**bits - 1):016x}"
    code, message = hash_problem(data, {"phash": told, "reencoded": reencoded}, basis)
    assert (code == "phash_mismatch") == is_found
    assert (f"at most {0 if bits == 1 else 10}" in message) == is_found


def test_bits_that_a_flat_drawing_leaves_open_do_not_count() -> None:
    image = Image.new("L", (64, 64), 250)
    image.paste(246, (0, 0, 32, 64))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    told = f"{int(oracle(file.getvalue()), 16) ^ (2**32 - 1):016x}"
    copy = {"phash": told, "reencoded": True}
    assert hash_problem(file.getvalue(), copy, "original") == ("", "")
    assert hash_problem(file.getvalue(), copy, "stored")[0] == "phash_mismatch"


@pytest.mark.parametrize("told", ["", "zz", "0123", "0" * 15])
def test_what_is_no_hash_is_found(told: str) -> None:
    row = {"phash": told, "reencoded": False}
    assert hash_problem(picture(64, 64), row, "stored")[0] == "phash_mismatch"


@pytest.mark.usefixtures("in_process")
def test_verify_looks_at_hashes_only_if_asked(make_dataset: MakeDataset) -> None:
    copy = Copy(make_dataset(12, 5))
    rows: Any = copy.rows()
    for number, sample in enumerate(copy.samples()):
        told = oracle(sample["jpg"]) if number else None
        rows = change_row(rows, number, phash=told)
    copy.rewrite(rows=change_row(rows, 2, phash="00000000000000ff"))
    assert copy.codes("deep") == {}
    found = {"phash_mismatch"}
    assert set(copy.codes("hashes")) == found
