"""Pictures of Debian packages, and what people do to pictures, for the quality of dedup."""

import csv
import functools
import hashlib
import io
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from benchmarks.harness import MissingError

PHOTOGRAPHS = (
    *("gnome-backgrounds", "mate-backgrounds", "plasma-workspace-wallpapers"),
    *("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "ukui-wallpapers"),
    *("lxqt-themes", "palapeli-data/usr/share/palapeli"),
    *(f"opencv-doc/usr/share/doc/opencv-doc/examples/{each}" for each in ("data", "text")),
)
"""Debian packages, some with the folder of it that counts."""
GRAPHICS = ("tuxpaint-stamps-default",)
CACHE = pathlib.Path.home() / ".cache" / "openwit" / "dedup"
FAMILIES = pathlib.Path(__file__).with_name("dedup_families.csv")
LONG_PX = 512
TILE_PX = 512
SMALL_TILE_PX = 256
"""As large as what is hashed of a picture."""
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")

Edit = Callable[[Image.Image], bytes]


def package_images(package: str, cache: pathlib.Path) -> list[pathlib.Path]:
    """Return the images of a Debian package, unpacked below `cache` when they are not yet.

    Args:
        package: its name, or `name/folder` for those of one folder.
        cache: folder of the unpacked packages.

    Raises:
        MissingError: if it cannot be had.
    """
    package, _, inside = package.partition("/")
    folder = cache / package
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            _run(["apt-get", "download", package], cache)
            (archive,) = cache.glob(f"{package}_*.deb")
            _run(["dpkg", "-x", str(archive), str(folder)], cache)
        except (OSError, subprocess.CalledProcessError, ValueError):
            raise MissingError(
                f"{package}: cannot be had: unpack this Debian package below {folder}"
            ) from None
    found = (path for path in (folder / inside).rglob("*") if path.suffix.lower() in ENDINGS)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _run(command: list[str], folder: pathlib.Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603


def families(paths: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Return the largest file of each family: sizes, light and dark, recoloured forms are one.

    Files that are listed without a family are no pictures of their own and left out.
    """
    with FAMILIES.open(encoding="utf-8", newline="") as file:
        listed = {row["file"]: row["family"] for row in csv.DictReader(file)}
    found: dict[str, pathlib.Path] = {}
    for path in paths:
        name = _theme(path) or listed.get(path.stem, path.stem)
        if not name:
            continue
        if name not in found or path.stat().st_size > found[name].stat().st_size:
            found[name] = path
    return dict(sorted(found.items()))


def _theme(path: pathlib.Path) -> str:
    """Return the theme of a wallpaper that has a folder of its own, as those of Plasma do."""
    parts = path.parts
    return parts[parts.index("contents") - 1] if "contents" in parts else ""


def is_reported(family: str) -> bool:
    """Tell whether a family is of the half that is reported; the other one is for tuning."""
    return hashlib.blake2b(family.encode(), digest_size=1).digest()[0] % 2 == 1


def load(path: pathlib.Path) -> Image.Image:
    """Return a picture with a long side of 512 px at most, transparency on white."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * LONG_PX, 2 * LONG_PX))
        layer = image.convert("RGBA")
    white = Image.new("RGB", layer.size, (255, 255, 255))
    white.paste(layer, mask=layer.getchannel("A"))
    white.thumbnail((LONG_PX, LONG_PX), Image.Resampling.LANCZOS)
    return white


def tiles(path: pathlib.Path, side: int = TILE_PX) -> Iterator[Image.Image]:
    """Yield the distinct square tiles of a large picture, `side` px each.

    What has room for one only is that tile itself, and nothing unrelated.
    """
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    if max(rgb.size) < 2 * side:
        return
    for top in range(0, rgb.height - side + 1, side):
        for left in range(0, rgb.width - side + 1, side):
            yield rgb.crop((left, top, left + side, top + side))


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    return encoded(image, "JPEG", quality=quality)


def _scaled(image: Image.Image, share: float) -> bytes:
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return _jpeg(image.resize(size, Image.Resampling.LANCZOS), 90)


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((64, 64))
    return _jpeg(small, 90)


def _gamma(image: Image.Image, power: float) -> bytes:
    table = [round(255 * (level / 255) ** power) for level in range(256)]
    return encoded(image.point(table * 3))


def _noise(image: Image.Image) -> bytes:
    levels = np.asarray(image).astype(np.float64)
    levels += np.random.default_rng(1).normal(0, 10, levels.shape)
    return encoded(Image.fromarray(levels.clip(0, 255).astype(np.uint8)))


def _crop(image: Image.Image, area: float) -> bytes:
    """Crop so that this share of the area goes, from all sides alike."""
    side = (1 - area) ** 0.5
    width, height = round(image.width * side), round(image.height * side)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return _jpeg(image.crop((left, top, left + width, top + height)), 90)


def _pad(image: Image.Image, share: float) -> bytes:
    border = max(1, round(min(image.size) * share))
    return _jpeg(ImageOps.expand(image, border, (255, 255, 255)), 90)


def _letterbox(image: Image.Image) -> bytes:
    side = max(image.size)
    height = round(side * 1.25) if image.width >= image.height else side
    width = side if image.width >= image.height else round(side * 1.25)
    return _jpeg(ImageOps.pad(image, (width, height), color=(0, 0, 0)), 90)


def _bar(image: Image.Image) -> bytes:
    bar = round(image.height * 0.1)
    made = Image.new("RGB", (image.width, image.height + bar))
    made.paste(image, (0, 0))
    return _jpeg(made, 90)


def _text(image: Image.Image) -> bytes:
    made = image.copy()
    place = (image.width // 10, image.height * 3 // 4)
    ImageDraw.Draw(made).text(place, "A TITLE", fill=(255, 255, 0), font_size=image.height // 8)
    return _jpeg(made, 90)


def _logo(image: Image.Image) -> bytes:
    made = image.copy()
    side = round((image.width * image.height * 0.03) ** 0.5)
    left, top = image.width - side - 8, image.height - side - 8
    draw = ImageDraw.Draw(made)
    draw.ellipse((left, top, left + side, top + side), fill=(220, 30, 30))
    draw.ellipse(
        (left + side // 4, top + side // 4, left + side // 2, top + side // 2), fill="white"
    )
    return _jpeg(made, 90)


def _quarter(image: Image.Image, quality: int) -> bytes:
    return _jpeg(image.reduce(4), quality)


def _three(image: Image.Image) -> bytes:
    """Make three edits, drawn by the picture itself."""
    seed = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")
    data = encoded(image)
    for name in np.random.default_rng(seed).choice(MILD, 3, replace=False):
        data = EDITS[str(name)](Image.open(io.BytesIO(data)).convert("RGB"))
    return data


def _rotate(image: Image.Image) -> bytes:
    return _jpeg(image.rotate(2, Image.Resampling.BICUBIC), 90)


EDITS: dict[str, Edit] = {
    **{f"jpeg_{q}": functools.partial(_jpeg, quality=q) for q in (90, 75, 50, 30, 15, 8, 3)},
    "webp_50": functools.partial(encoded, kind="WEBP", quality=50),
    "resize_half": functools.partial(_scaled, share=0.5),
    "resize_quarter": functools.partial(_scaled, share=0.25),
    "thumbnail_64": _thumbnail,
    "squash_224": lambda image: _jpeg(image.resize((224, 224)), 90),
    "colours_64": lambda image: encoded(image.quantize(64)),
    "brightness": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.3)),
    "contrast": lambda image: encoded(ImageEnhance.Contrast(image).enhance(1.4)),
    "gamma_up": functools.partial(_gamma, power=1.6),
    "gamma_down": functools.partial(_gamma, power=0.6),
    "gray": lambda image: encoded(image.convert("L")),
    "blur": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(2))),
    "noise": _noise,
    "sharpen": lambda image: encoded(image.filter(ImageFilter.UnsharpMask())),
    "text": _text,
    "logo": _logo,
    "bar": _bar,
    "pad_2": functools.partial(_pad, share=0.02),
    "pad_5": functools.partial(_pad, share=0.05),
    "letterbox": _letterbox,
    **{
        f"crop_{share}": functools.partial(_crop, area=share / 100)
        for share in (1, 2, 5, 10, 20, 50)
    },
    "rotate": _rotate,
    "mirror": lambda image: encoded(ImageOps.mirror(image)),
}
"""Each makes a file of an image of 512 px."""

MILD = (
    *("jpeg_30", "resize_half", "brightness", "contrast", "gamma_up", "gamma_down", "gray", "blur"),
    *("noise", "sharpen", "text", "pad_5", "crop_2"),
)
COPYDAYS: dict[str, Edit] = {
    **{f"copydays_jpeg_{q}": functools.partial(_quarter, quality=q) for q in (75, 30, 15, 8, 3)},
    "copydays_crop_80": functools.partial(_crop, area=0.8),
    "copydays_three": _three,
}
"""Edits like those of the Copydays set: a quarter of the side and a JPEG quality, strong crops,
several edits at once. Crops of less are among `EDITS`."""
