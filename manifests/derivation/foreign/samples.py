"""One foreign sample to a row, or to the reason why it is none."""

import dataclasses
import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from typing import IO, Any, Literal

from manifests.derivation.foreign.tars import MAX_TEXT_MEMBER_BYTES, Found
from manifests.format.checks.members import MAX_PIXELS
from manifests.format.ids import pair_id
from manifests.format.writer import MAX_TEXT_BYTES

Layout = Literal["img2dataset", "webdataset", "datacomp"]
URL_NAMES = ("url", "URL")
CAPTION_NAMES = ("caption", "TEXT", "text")
FORMATS = ["JPEG", "PNG", "WEBP"]


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A sample that is left out."""

    reason: str
    key: str
    url: str | None = None
    caption: str | None = None


def first_of(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first value that is there under one of the names."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def url_key(url: object) -> str | None:
    """Return a URL's canonical form, or None if it is no http or https URL."""
    import ada_url

    try:
        parsed = ada_url.URL(url) if isinstance(url, str) else None
    except ValueError:
        return None
    if parsed is None or parsed.protocol not in ("http:", "https:"):
        return None
    parsed.hash = ""
    return str(parsed.href).removesuffix("#")


def read_sample(
    file: IO[bytes], found: Found, caption_from: str, listed: Mapping[str, Any]
) -> dict[str, Any] | Skipped:
    """Read a sample and return the columns that are known of it.

    Args:
        file: the open tar.
        found: where its members are.
        caption_from: `txt`, or `json:FIELD`; empty: `txt`, else the caption of the JSON.
        listed: its row of the Parquet file beside the tar, if there is one.
    """
    ext = found.image_ext
    if ext is None:
        return Skipped("no_image", found.key)
    about = _json(file, found)
    if about is None:
        return Skipped("bad_json", found.key)
    about |= listed
    caption = _caption(file, found, caption_from, about)
    url = url_key(first_of(about, URL_NAMES))
    if not caption or "\0" in caption or len(caption.encode()) > MAX_TEXT_BYTES:
        return Skipped("no_caption", found.key, url)
    image = _read(file, found.members[ext])
    size = _decode(image)
    if size is None:
        return Skipped("undecodable_image", found.key, url, caption)
    width, height, name = size
    sha256 = hashlib.sha256(image).hexdigest()
    # Plain WebDataset says nothing of a download: the image is taken as it was found.
    has_download = first_of(about, ("status", "original_width")) is not None
    original = about.get("sha256") if has_download else sha256
    text = found.members.get("txt", (0, 0))
    row: dict[str, Any] = {
        "url": url or f"urn:sha256:{sha256}",
        "caption": caption,
        "caption_source": "list",
        "alternates": [],
        "seen": 1,
        "query_ids": [],
        "selected_by": [],
        "width": width,
        "height": height,
        "original_width": _number(about.get("original_width"), width),
        "original_height": _number(about.get("original_height"), height),
        "original_format": None if has_download else name,
        "original_sha256": original if isinstance(original, str) else None,
        "sha256": sha256,
        "reencoded": original != sha256,
        "duplicates": 0,
        "image_source": "foreign",
        "image_offset": found.members[ext][0],
        "image_bytes": found.members[ext][1],
        "text_offset": text[0] if _is_text(file, text, caption) else 0,
        "text_bytes": text[1] if _is_text(file, text, caption) else 0,
        "json_offset": found.members["json"][0] if "json" in found.members else None,
        "json_bytes": found.members["json"][1] if "json" in found.members else None,
        "foreign_key": found.key,
        "uid": str(about["uid"]) if about.get("uid") is not None else None,
    }
    return row | {"pair_id": pair_id(row["url"], caption).hex()}


def _is_text(file: IO[bytes], place: tuple[int, int], caption: str) -> bool:
    """Tell whether the text member is the caption, byte for byte."""
    return place[1] <= MAX_TEXT_MEMBER_BYTES and _read(file, place) == caption.encode()


def _read(file: IO[bytes], place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1])


def _json(file: IO[bytes], found: Found) -> dict[str, Any] | None:
    """Return the JSON member, {} if there is none, None if it is not an object."""
    place = found.members.get("json")
    if place is None:
        return {}
    if place[1] > MAX_TEXT_MEMBER_BYTES:
        return None
    try:
        value = json.loads(_read(file, place))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _caption(
    file: IO[bytes], found: Found, caption_from: str, about: Mapping[str, Any]
) -> str | None:
    place = found.members.get("txt")
    if caption_from.startswith("json:") or (place is None and not caption_from):
        field = caption_from.removeprefix("json:")
        value = about.get(field) if field else first_of(about, CAPTION_NAMES)
        return value if isinstance(value, str) and _is_unicode(value) else None
    if place is None or place[1] > MAX_TEXT_MEMBER_BYTES:
        return None
    try:
        return _read(file, place).decode()
    except UnicodeDecodeError:
        return None


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogate, which JSON can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: object, default: int) -> int:
    is_number = isinstance(value, (int, float)) and 0 < value < 2**31
    return int(value) if is_number else default  # type: ignore[call-overload]


def _decode(data: bytes) -> tuple[int, int, str] | None:
    """Return width, height, px, and format of an image that can be decoded, else None."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.load()
                return image.width, image.height, str(image.format).lower()
    except Exception:  # whatever a decoder raises, the image is bad
        return None
