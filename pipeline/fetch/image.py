"""A body from the web to what is stored of it: header checks, decode, hash record, JPEG."""

import dataclasses
import hashlib
import warnings

from PIL import Image

from filters.hashes.canonical import CANONICAL_PX, DECODE_PX, fast_filter, reduced
from filters.hashes.perceptual import HashRecord, record
from filters.verdict import Drop
from pipeline.fetch.decode import Decoded, decode, decode_scale, fault, judge, open_image
from pipeline.fetch.encode import framed, is_srgb, jpeg_bytes, resize_plan, to_srgb
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.sniff import sniff


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is stored of a body, and what is known of it."""

    stored: bytes
    """A JPEG file."""
    sha256: bytes
    """Of `stored`."""
    width: int
    """In px, as stored."""
    height: int
    reencoded: bool
    """False if `stored` is the body, byte for byte."""
    original_format: str
    original_width: int
    """In px, upright."""
    original_height: int
    is_animated: bool
    flags: tuple[str, ...]
    """Of `exif_rotated`, `icc_applied`, `icc_ignored`; sorted."""
    hashes: HashRecord
    """It depends on the body alone, not on how the image is stored."""


def prepare(body: bytes, settings: FetchSettings) -> Prepared | Drop:
    """Return what is stored of a body, or why it is dropped; no body raises.

    Args:
        body: free of its Content-Encoding.
        settings: limits, and how images are stored.
    """
    name = sniff(body, settings.formats)
    if isinstance(name, Drop):
        return name
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # remarks on metadata: what is wrong is dropped, or no matter
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        decoded = _decode(body, name, settings)
        if isinstance(decoded, Drop):
            return decoded
        return _prepare(body, name, *decoded, settings)


def _decode(body: bytes, name: str, settings: FetchSettings) -> tuple[Decoded, Decoded] | Drop:
    """Decode for the hashes and for storing: once, unless the stored image needs a finer scale."""
    try:
        image = open_image(body, name)
        scale = decode_scale(image, name, DECODE_PX)
        stored_scale = scale
        if settings.resize_mode == "no":
            stored_scale = 1
        elif settings.image_size > CANONICAL_PX:
            stored_scale = decode_scale(image, name, 2 * settings.image_size)
        verdict = judge(image, body, stored_scale, settings)
        if verdict is not None:
            return verdict
        hashed = decode(image, name, scale)
        if stored_scale == scale:
            return hashed, hashed
        return hashed, decode(open_image(body, name), name, stored_scale)
    except MemoryError:
        raise  # says something of this machine, nothing of the body
    except Exception as error:  # Pillow's plugins raise nearly everything on broken files
        return fault(error, body, name)


def _prepare(
    body: bytes, name: str, hashed: Decoded, source: Decoded, settings: FetchSettings
) -> Prepared:
    canonical = reduced(hashed.rgb, hashed.full_px)
    resized = _resized(hashed, source, canonical, settings)
    is_kept = _is_kept(source, resized, settings)
    image, flag = resized, ""
    if source.profile is not None and settings.icc == "srgb":
        image, flag = to_srgb(image, source.profile, is_colour=source.is_rgb)
    image = framed(image, settings)
    stored = body if is_kept else jpeg_bytes(image, settings.encode_quality)
    return Prepared(
        stored=stored,
        sha256=hashlib.sha256(stored).digest(),
        width=image.width,
        height=image.height,
        reencoded=not is_kept,
        original_format=name,
        original_width=source.full_px[0],
        original_height=source.full_px[1],
        is_animated=source.is_animated,
        flags=tuple(sorted({"exif_rotated" if source.is_turned else "", flag} - {""})),
        hashes=record(canonical),
    )


def _resized(
    hashed: Decoded, source: Decoded, canonical: Image.Image, settings: FetchSettings
) -> Image.Image:
    """Resize what is stored; with the defaults it is the canonical image, already made."""
    size, resample = resize_plan(source.rgb.size, source.full_px, settings)
    if size == source.rgb.size:
        return source.rgb
    is_canonical = size == canonical.size and resample == fast_filter(
        min(hashed.rgb.size), CANONICAL_PX
    )
    if source is hashed and is_canonical:
        return canonical
    return source.rgb.resize(size, resample)


def _is_kept(source: Decoded, resized: Image.Image, settings: FetchSettings) -> bool:
    """Tell whether the body itself is stored: nothing would be changed but the encoding."""
    if settings.keep_original != "unchanged" or not source.is_plain_jpeg or source.is_turned:
        return False
    if resized.size != source.full_px or framed(resized, settings).size != source.full_px:
        return False
    return source.profile is None or is_srgb(source.profile)
