import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.hashes.canonical import canonical, dct_scale, fitted, orientation, upright_rgb
from filters.hashes.perceptual import sample_image


@pytest.mark.parametrize(
    ("size", "scale"),
    [((1022, 1022), 1), ((1023, 1023), 2), ((2048, 4000), 4), ((5000, 4096), 8), ((300, 9000), 1)],
)
def test_dct_scale_leaves_512_px(size: tuple[int, int], scale: int) -> None:
    assert dct_scale(*size) == scale


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 750), (341, 256)),
        ((2000, 513), (998, 256)),
        ((333, 777), (256, 597)),
        ((257, 256), (257, 256)),
        ((100, 40), (100, 40)),
    ],
)
def test_canonical_sizes_are_golden(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert canonical(Image.new("RGB", size)).size == expected


def test_canonical_size_follows_the_size_before_the_dct_scale() -> None:
    assert canonical(Image.new("RGB", (1001, 512)), (2001, 1023)).size == (501, 256)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_fitted_rounds_half_up_and_never_enlarges(width: int, height: int, target: int) -> None:
    side = min(width, height)
    found = fitted(width, height, side, target)
    assert min(found) == min(side, target)
    assert found[0] <= width
    assert found[1] <= height
    if side > target:
        assert abs(max(found) * side - max(width, height) * target) * 2 <= side


@pytest.mark.parametrize("value", range(1, 9))
def test_each_exif_orientation_is_turned_upright(value: int) -> None:
    upright = sample_image(60, 40)
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[value]
    exif = Image.Exif()
    exif[0x0112] = value
    buffer = io.BytesIO()
    (upright.transpose(back) if back is not None else upright).save(buffer, "PNG", exif=exif)
    opened = Image.open(buffer)
    assert orientation(opened) == value
    assert np.array_equal(np.asarray(upright_rgb(opened)), np.asarray(upright))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_outside_1_to_8_mean_upright(value: int) -> None:
    image = Image.new("RGB", (4, 2))
    image.getexif()[0x0112] = value
    assert orientation(image) == 1


def test_broken_exif_means_upright() -> None:
    image = Image.new("RGB", (4, 2))
    image.info["exif"] = b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 9
    assert orientation(image) == 1


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparent_pixels_become_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 3), (10, 20, 30, 0)).convert(mode)
    assert upright_rgb(image).getpixel((1, 1)) == (255, 255, 255)


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 1
    rgb = upright_rgb(image)
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (255, 255, 255)]


def test_16_bit_levels_lose_their_low_byte() -> None:
    levels = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], np.uint16)
    expected = [(v, v, v) for v in (0, 0, 1, 0x7F, 0xFF)]
    image = upright_rgb(Image.fromarray(levels))
    assert [image.getpixel((x, 0)) for x in range(5)] == expected
    wide = upright_rgb(Image.fromarray(np.array([[-5, 70_000]], np.int32)))
    assert [wide.getpixel((x, 0)) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(ValueError, match="integer levels"):
        canonical(Image.new("F", (4, 4)))
