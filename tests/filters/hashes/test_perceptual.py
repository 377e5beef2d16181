import hashlib
import io
import struct

import hypothesis.extra.numpy as arrays
import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from filters.hashes import perceptual
from filters.hashes.perceptual import (
    FLAT,
    GRAPHIC,
    GRAY,
    canonical,
    dhash_bits,
    gradient_quality,
    phash_bits,
    record,
    sample_image,
    self_test,
)

DHASH = "bd5f7fbfffffbf5f58afbc5ffe7f7e7ffe5f7aafbc5ffcff7bbfbd5f7eafffff"
PHASH = "86e03d55391f45d4c0e45711c7033d54391c554038e44500c4417fffcf3f7fff"
CHROMA = "a6799d9993b986d991677aa67c9e73be794d658c69835da368295d4952694889"


def test_bits_of_made_up_squares_are_golden() -> None:
    x, y = np.arange(64)[None, :], np.arange(64)[:, None]
    square = ((3 * x + 5 * y + x * y // 7 + 40 * ((x // 8 + y // 8) % 2)) % 256).astype(np.uint8)
    assert (
        phash_bits(square).hex()
        == "815cd64a01690ee7b872327ea5d5ab0666b468656cd51d25835dbabbda123bb5"
    )
    assert gradient_quality(square) == 100
    assert phash_bits(square[:32, :32]).hex() == "c639645eb62c9b54"


def test_dhash_of_a_made_up_line_is_golden() -> None:
    x, y = np.arange(17)[None, :], np.arange(16)[:, None]
    line = ((37 * x + 91 * y + x * y * y // 3) % 256).astype(np.uint8)
    expected = "fdfbf7efbf7efbf7efbebdf7f7bddef77bbbeeeebb776ddbdb6dadb55ad6ad56"
    assert dhash_bits(line).hex() == expected


@pytest.mark.parametrize(("level", "first"), [(0, 0), (128, 0x80), (255, 0x80)])
def test_plain_squares_have_the_constant_bit_at_most(level: int, first: int) -> None:
    for side, size in ((64, 32), (32, 8)):
        bits = phash_bits(np.full((side, side), level, np.uint8))
        assert bits == bytes([first, *[0] * (size - 1)])


def test_record_of_the_sample_image_is_golden() -> None:
    found = record(sample_image(300, 200))
    assert found.hash.hex() == DHASH + PHASH
    assert found.chroma.hex() == CHROMA
    assert (found.phash, found.quality, found.flags) == ("863c3947c05fc735", 100, 0)
    assert (found.trim, found.pixels) == (None, None)


def test_record_of_a_large_image_reduces_first() -> None:
    found = record(sample_image(2000, 1500))
    assert (found.quality, found.flags, found.phash) == (29, GRAPHIC, "827d3b48c862c73f")


def test_self_test_finds_the_thumbnails_of_pillow_12() -> None:
    assert self_test() == "ow1/p12"


def test_self_test_refuses_an_unknown_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    self_test.cache_clear()
    monkeypatch.setattr(perceptual, "HASH_VERSIONS", {"0" * 64: "ow1/none"})
    with pytest.raises(ValueError, match="hash version must be one of"):
        self_test()
    monkeypatch.undo()
    self_test.cache_clear()


def test_a_white_border_is_trimmed_to_the_record_without_it() -> None:
    picture = sample_image(300, 200)
    found = record(ImageOps.expand(picture, 12, (255, 255, 255)))
    assert found.trim == bytes.fromhex(DHASH + PHASH + CHROMA) + b"\0"
    assert found.hash.hex() != DHASH + PHASH


def test_a_flat_image_is_known_by_its_pixels() -> None:
    image = Image.new("RGB", (40, 30), (200, 10, 10))
    found = record(image)
    data = struct.pack("<II", 40, 30) + bytes([200, 10, 10]) * 1200
    assert found.pixels == hashlib.blake2b(data, digest_size=16).digest()
    assert found.flags & FLAT
    assert (found.phash, found.trim) == (None, None)
    assert record(Image.new("RGB", (40, 30), (10, 200, 10))).pixels != found.pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 200)])
def test_images_below_16_px_are_flat(size: tuple[int, int]) -> None:
    assert record(Image.new("RGB", size)).flags & FLAT


def test_a_gray_picture_is_gray() -> None:
    gray = sample_image(300, 200).convert("L").convert("RGB")
    assert record(gray).flags & GRAY
    assert not record(sample_image(300, 200)).flags & GRAY


def test_a_drawing_of_few_levels_is_graphic() -> None:
    drawing = Image.new("RGB", (256, 256), (250, 250, 250))
    drawing.paste(sample_image(120, 120), (20, 20))
    assert record(drawing).flags & GRAPHIC


def test_thin_plain_lines_make_a_picture_graphic_that_its_thumbnail_is_not() -> None:
    levels = np.asarray(sample_image(256, 256)).copy()
    for start, level in enumerate((20, 90, 160, 230)):
        levels[2 * start :: 8] = level
    assert not record(sample_image(256, 256)).flags & GRAPHIC
    assert not record(Image.fromarray(levels)).flags & FLAT
    assert record(Image.fromarray(levels)).flags & GRAPHIC


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(16, 90), st.integers(16, 90), st.just(3)),
        elements=st.integers(0, 255),
        fill=st.integers(0, 255),
    )
)
def test_bits_equal_imagehash_below_1024_px(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels)
    found = record(image)
    if found.flags & FLAT:  # imagehash's own bits are rounding noise there
        return
    assert found.phash == str(imagehash.phash(image))
    theirs = str(imagehash.dhash(image, 16)) + str(imagehash.phash(image, 16))
    assert found.hash.hex() == theirs


def test_bits_of_pictures_equal_imagehash() -> None:
    for seed, size in enumerate([(341, 256), (256, 400), (1000, 200), (64, 64), (768, 256)]):
        noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        found = record(image)
        assert found.phash == str(imagehash.phash(image))
        theirs = str(imagehash.dhash(image, 16)) + str(imagehash.phash(image, 16))
        assert found.hash.hex() == theirs


def forms_of(picture: Image.Image) -> dict[str, Image.Image]:
    """One picture of 256 colours in the forms that images come in."""
    palette = picture.quantize(256, dither=Image.Dither.NONE)
    rgb = palette.convert("RGB")
    alpha = rgb.convert("RGBA")
    alpha.putalpha(255)
    turned = rgb.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    transparent = palette.copy()
    transparent.info["transparency"] = bytes([255] * 256)
    return {"palette": palette, "alpha": alpha, "turned": turned, "transparent": transparent}


def test_alpha_rotation_and_palette_forms_of_a_picture_hash_alike() -> None:
    forms = forms_of(sample_image(300, 200))
    plain = record(canonical(forms["palette"].convert("RGB")))
    for name, form in forms.items():
        assert record(canonical(form)) == plain, name


def test_gray_16_bit_and_signed_forms_of_a_picture_hash_alike() -> None:
    gray = sample_image(300, 200).convert("L")
    levels = np.asarray(gray).astype(np.uint16) << 8 | 0x5A
    plain = record(canonical(gray))
    assert plain.flags & GRAY
    for form in (Image.fromarray(levels), Image.fromarray(levels.astype(np.int32))):
        assert record(canonical(form)) == plain
    assert record(canonical(gray.convert("LA"))) == plain


def test_a_cmyk_picture_is_near_to_its_colours() -> None:
    rgb = sample_image(300, 200)
    cmyk, plain = record(canonical(rgb.convert("CMYK"))), record(canonical(rgb))
    apart = int.from_bytes(cmyk.hash) ^ int.from_bytes(plain.hash)
    assert apart.bit_count() <= 15


def test_an_animated_picture_is_hashed_by_its_first_frame() -> None:
    first, second = sample_image(300, 200).quantize(256), sample_image(200, 300).quantize(256)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    assert record(canonical(Image.open(buffer))) == record(canonical(first.convert("RGB")))


def test_a_flag_in_other_colours_stays() -> None:
    stripes = Image.new("RGB", (300, 200), (200, 0, 0))
    stripes.paste((255, 255, 255), (100, 0, 200, 200))
    other = Image.new("RGB", (300, 200), (0, 90, 0))
    other.paste((255, 255, 255), (100, 0, 200, 200))
    one, two = (np.frombuffer(record(each).chroma, np.uint8) for each in (stripes, other))
    assert np.abs(one.astype(int) - two).sum() > 4 * 32
