from PIL import Image, ImageOps

from filters.hashes.borders import find_border
from filters.hashes.perceptual import sample_image


def test_no_border_is_found_in_a_picture() -> None:
    assert find_border(sample_image(300, 200).convert("L")) is None


def test_an_even_border_is_found() -> None:
    framed = ImageOps.expand(sample_image(300, 200), 12, (255, 255, 255))
    assert find_border(framed.convert("L")) == (12, 12, 312, 212)


def test_black_bars_above_and_below_are_found() -> None:
    boxed = Image.new("RGB", (300, 300))
    boxed.paste(sample_image(300, 200), (0, 50))
    assert find_border(boxed.convert("L")) == (0, 50, 300, 250)


def test_a_plain_image_is_cropped_at_most_45_percent_a_side() -> None:
    assert find_border(Image.new("L", (400, 200), 7)) == (180, 90, 220, 110)


def test_too_small_a_rest_is_not_cropped() -> None:
    assert find_border(Image.new("L", (100, 60), 7)) is None
    assert find_border(Image.new("L", (1, 1), 7)) is None


def test_a_border_of_at_most_1_percent_stays() -> None:
    framed = ImageOps.expand(sample_image(598, 400), (1, 0), (255, 255, 255))
    assert find_border(framed.convert("L")) is None


def test_large_images_are_searched_reduced() -> None:
    framed = ImageOps.expand(sample_image(1200, 900), 120, (255, 255, 255))
    left, top, right, bottom = find_border(framed.convert("L")) or (0, 0, 0, 0)
    assert (left, top) == (120, 120)
    assert (right, bottom) == (1320, 1020)
