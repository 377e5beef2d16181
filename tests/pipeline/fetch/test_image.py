import hashlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from filters.hashes.canonical import canonical
from filters.hashes.perceptual import record
from filters.verdict import Drop, DropReason
from pipeline.fetch.image import Prepared, prepare
from pipeline.fetch.settings import FetchSettings, ResizeMode

Photo = Callable[[int, int], Image.Image]
Encode = Callable[..., bytes]
DEFAULT = FetchSettings()


def kept(body: bytes, chosen: FetchSettings = DEFAULT) -> Prepared:
    result = prepare(body, chosen)
    assert isinstance(result, Prepared), result
    return result


def reason(body: bytes, chosen: FetchSettings = DEFAULT) -> DropReason:
    result = prepare(body, chosen)
    assert isinstance(result, Drop), result
    return result.reason


def stored_image(prepared: Prepared) -> Image.Image:
    return Image.open(io.BytesIO(prepared.stored))


def mean_difference(left: Image.Image, right: Image.Image) -> float:
    return float(np.abs(np.asarray(left, float) - np.asarray(right.convert("RGB"), float)).mean())


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of one colour whose pixels are never to be decoded."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((1000, 750), "keep_ratio", (341, 256)),
        ((1001, 334), "keep_ratio", (767, 256)),
        ((333, 777), "keep_ratio", (256, 597)),
        ((257, 256), "keep_ratio", (257, 256)),
        ((100, 80), "keep_ratio", (100, 80)),
        ((1000, 750), "keep_ratio_largest", (256, 192)),
        ((1000, 750), "center_crop", (256, 256)),
        ((100, 80), "center_crop", (80, 80)),
        ((1000, 750), "border", (256, 256)),
        ((100, 80), "border", (256, 256)),
        ((1000, 750), "no", (1000, 750)),
    ],
)
def test_each_mode_gives_its_size(
    photo: Photo,
    encoded: Encode,
    size: tuple[int, int],
    mode: ResizeMode,
    expected: tuple[int, int],
) -> None:
    body = encoded(photo(*size))
    found = kept(body, FetchSettings(resize_mode=mode))
    assert (found.width, found.height) == stored_image(found).size == expected
    assert (found.original_width, found.original_height) == size
    assert found.hashes == kept(body).hashes


def test_the_golden_wide_size_holds(photo: Photo, encoded: Encode) -> None:
    found = kept(encoded(photo(2000, 513)), FetchSettings(max_aspect_ratio=4.0))
    assert (found.width, found.height) == (998, 256)


def test_stored_files_are_plain_baseline_jpegs(photo: Photo, encoded: Encode) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    found = kept(encoded(photo(300, 300), exif=exif, comment=b"hello", dpi=(300, 300)))
    image = stored_image(found)
    assert image.format == "JPEG"
    assert set(image.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"hello" not in found.stored
    assert b"\xff\xc0" in found.stored  # baseline
    assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]
    assert found.reencoded
    assert found.sha256 == hashlib.sha256(found.stored).digest()


def test_hashes_are_those_of_the_canonical_image(photo: Photo, encoded: Encode) -> None:
    body = encoded(photo(700, 500), "PNG")
    assert kept(body).hashes == record(canonical(Image.open(io.BytesIO(body))))


def test_lossless_forms_of_a_picture_hash_alike(photo: Photo, encoded: Encode) -> None:
    picture = photo(400, 300)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    forms = [
        encoded(picture, "PNG"),
        encoded(picture.convert("RGBA"), "PNG"),
        encoded(picture, "WEBP", lossless=True),
        encoded(turned, "PNG", exif=exif),
    ]
    assert len({kept(form).hashes for form in forms}) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"image_size": 384},
        {"image_size": 128},
        {"resize_mode": "border", "image_size": 512},
        {"resize_filter": "hamming", "encode_quality": 50},
        {"keep_original": "unchanged"},
        {"icc": "ignore"},
    ],
)
def test_hashes_do_not_depend_on_how_an_image_is_stored(
    photo: Photo, encoded: Encode, changed: dict[str, object]
) -> None:
    body = encoded(photo(1300, 1100))
    assert kept(body, FetchSettings(**changed)).hashes == kept(body).hashes  # type: ignore[arg-type]


def test_large_stored_images_are_decoded_finely_enough(photo: Photo, encoded: Encode) -> None:
    picture = photo(2400, 2400)
    found = kept(encoded(picture, quality=95), FetchSettings(image_size=1000))
    assert (found.width, found.height) == (1000, 1000)
    assert mean_difference(picture.resize((1000, 1000)), stored_image(found)) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_every_format_is_decoded(photo: Photo, encoded: Encode, kind: str) -> None:
    picture = photo(200, 150)
    found = kept(encoded(picture, kind))
    assert found.original_format == kind.lower()
    assert (found.width, found.height, found.is_animated) == (200, 150, False)
    assert mean_difference(picture, stored_image(found)) < 12  # GIF has 256 colours


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_gives_the_upright_picture(
    photo: Photo, encoded: Encode, kind: str, value: int
) -> None:
    upright = photo(1400, 1100) if kind == "JPEG" else photo(140, 110)
    turns = [None, None, 0, 3, 1, 5, 2, 6, 4]  # the transposition that undoes each orientation
    turn = turns[value]
    turned = upright.transpose(Image.Transpose(turn)) if turn is not None else upright
    exif = Image.Exif()
    exif[0x0112] = value
    found = kept(encoded(turned, kind, exif=exif, quality=95))
    assert (found.original_width, found.original_height) == upright.size
    assert mean_difference(upright.resize((found.width, found.height)), stored_image(found)) < 4
    assert found.flags == (("exif_rotated",) if value > 1 else ())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_transparency_is_laid_on_white(photo: Photo, encoded: Encode, kind: str) -> None:
    picture = photo(100, 100).convert("RGBA")
    picture.paste((10, 20, 30, 0), (0, 0, 50, 100))
    image = stored_image(kept(encoded(picture, kind)))
    assert min(image.getpixel((10, 50))) > 250  # type: ignore[arg-type]


def test_16_bit_png_keeps_its_picture(photo: Photo, encoded: Encode) -> None:
    gray = photo(100, 100).convert("L")
    levels = np.asarray(gray).astype(np.uint16) * 256 + 7
    found = kept(encoded(Image.fromarray(levels), "PNG"))
    assert mean_difference(gray.convert("RGB"), stored_image(found)) < 2
    assert found.hashes == kept(encoded(gray, "PNG")).hashes


def test_palette_and_cmyk_keep_their_picture(photo: Photo, encoded: Encode) -> None:
    picture = photo(120, 100)
    palette = kept(encoded(picture.quantize(256), "PNG"))
    assert mean_difference(picture, stored_image(palette)) < 12
    cmyk = kept(encoded(picture.convert("CMYK"), "JPEG", quality=95))
    assert mean_difference(picture, stored_image(cmyk)) < 6


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_give_their_first_frame(photo: Photo, encoded: Encode, kind: str) -> None:
    frames = [photo(100, 100), photo(100, 101).resize((100, 100))]
    body = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    found = kept(body)
    assert found.is_animated
    assert mean_difference(frames[0], stored_image(found)) < 12
    assert reason(body, FetchSettings(animation="drop")) is DropReason.ANIMATED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_half_a_file_is_truncated(photo: Photo, encoded: Encode, kind: str) -> None:
    body = encoded(photo(300, 200), kind)
    assert reason(body[: len(body) // 2]) is DropReason.TRUNCATED_IMAGE


def test_half_a_progressive_jpeg_is_truncated(photo: Photo, encoded: Encode) -> None:
    body = encoded(photo(300, 200), progressive=True)
    assert reason(body[: len(body) // 2]) is DropReason.TRUNCATED_IMAGE


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2000, 1), DropReason.TOO_SMALL),
        ((16_000, 16_000), DropReason.TOO_MANY_PIXELS),
        ((2**31 - 1, 2**31 - 1), DropReason.TOO_MANY_PIXELS),
        ((900, 200), DropReason.ASPECT_RATIO),
    ],
)
def test_headers_are_judged_before_pixels(size: tuple[int, int], expected: DropReason) -> None:
    assert reason(png_header(*size)) is expected


def test_decoded_bytes_are_limited_at_the_scale_of_the_decode(
    photo: Photo, encoded: Encode
) -> None:
    picture = photo(1200, 1200)
    limit = FetchSettings(max_decoded_bytes=600 * 600 * 3)
    assert reason(encoded(picture, "PNG"), limit) is DropReason.TOO_MANY_PIXELS
    assert kept(encoded(picture), limit).original_width == 1200


def test_passes_over_the_pixels_are_limited(photo: Photo, encoded: Encode) -> None:
    body = encoded(photo(1000, 1000), progressive=True)
    last = body[body.rindex(b"\xff\xda") : -2]
    assert kept(body[:-2] + last * 10 + body[-2:]).original_format == "jpeg"
    assert reason(body[:-2] + last[:60] * 2000 + body[-2:]) is DropReason.TOO_MANY_PIXELS


def test_an_image_too_long_for_a_jpeg_is_dropped() -> None:
    wide = FetchSettings(max_aspect_ratio=1e6, resize_mode="no", min_image_size=1)
    assert reason(png_header(70_000, 10), wide) is DropReason.TOO_MANY_PIXELS


def test_a_page_served_as_jpeg_is_no_image() -> None:
    assert prepare(b"<!doctype html><title>404</title>", DEFAULT) == Drop(
        DropReason.NOT_IMAGE, "html"
    )


def test_formats_left_out_are_refused(photo: Photo, encoded: Encode) -> None:
    only = FetchSettings(formats=("jpeg",))
    assert reason(encoded(photo(100, 100), "PNG"), only) is DropReason.FORMAT_REFUSED


UNCHANGED = FetchSettings(keep_original="unchanged")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_of_the_right_size_are_kept_byte_for_byte(
    photo: Photo, encoded: Encode, mode: str
) -> None:
    body = encoded(photo(300, 256).convert(mode))
    found = kept(body, UNCHANGED)
    assert found.stored == body
    assert (found.reencoded, found.sha256) == (False, hashlib.sha256(body).digest())
    assert (found.width, found.height) == (300, 256)


def test_other_files_are_encoded_again(photo: Photo, encoded: Encode) -> None:
    picture = photo(300, 256)
    turned = Image.Exif()
    turned[0x0112] = 6
    crop = FetchSettings(keep_original="unchanged", resize_mode="center_crop")
    assert kept(encoded(picture, "PNG"), UNCHANGED).reencoded
    assert kept(encoded(photo(300, 257)), UNCHANGED).reencoded
    assert kept(encoded(picture, exif=turned), UNCHANGED).reencoded
    assert kept(encoded(picture.convert("CMYK")), UNCHANGED).reencoded
    assert kept(encoded(picture, keep_rgb=True), UNCHANGED).reencoded
    assert kept(encoded(picture, icc_profile=b"broken"), UNCHANGED).reencoded
    assert kept(encoded(picture), crop).reencoded
    assert not kept(encoded(photo(256, 256)), crop).reencoded


def swapped_profile() -> bytes:
    """Return an sRGB profile whose red and blue primaries change places."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * data[131], 12)}
    red, blue = tags[b"rXYZ"] + 4, tags[b"bXYZ"] + 4
    data[red : red + 8], data[blue : blue + 8] = data[blue : blue + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_another_rgb_profile_is_applied_to_the_stored_image_only(
    photo: Photo, encoded: Encode
) -> None:
    picture = photo(300, 256)
    body = encoded(picture, "PNG", icc_profile=swapped_profile())
    found = kept(body)
    swapped = Image.merge("RGB", picture.split()[::-1])
    assert found.flags == ("icc_applied",)
    assert mean_difference(swapped, stored_image(found)) < 5
    assert found.hashes == kept(encoded(picture, "PNG")).hashes
    ignoring = kept(body, FetchSettings(icc="ignore"))
    assert ignoring.flags == ()
    assert mean_difference(picture, stored_image(ignoring)) < 5


def test_profiles_that_cannot_apply_are_ignored(photo: Photo, encoded: Encode) -> None:
    picture = photo(300, 256)
    gray = encoded(picture.convert("L"), "PNG", icc_profile=swapped_profile())
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert kept(encoded(picture, "PNG", icc_profile=b"broken")).flags == ("icc_ignored",)
    assert kept(gray).flags == ("icc_ignored",)
    assert kept(encoded(picture, "PNG", icc_profile=lab)).flags == ("icc_ignored",)
    damaged = swapped_profile().replace(b"RGB ", b"RG\x80 ", 1)
    assert kept(encoded(picture, "PNG", icc_profile=damaged)).flags == ("icc_ignored",)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert kept(encoded(picture, icc_profile=srgb)).flags == ()


MAGICS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBP",
    b"\0\0\0\x18ftypavif",
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=200))
def test_random_bytes_are_dropped(magic: bytes, tail: bytes) -> None:
    assert isinstance(prepare(magic + tail, DEFAULT), Drop)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_damaged_files_never_raise(photo: Photo, encoded: Encode, kind: str) -> None:
    body = encoded(photo(70, 70), kind)
    rng = np.random.default_rng(7)
    for _ in range(60):
        damaged = bytearray(body)
        for place in rng.integers(0, len(body), 4):
            damaged[place] = int(rng.integers(0, 256))
        assert isinstance(prepare(bytes(damaged), DEFAULT), Prepared | Drop)
