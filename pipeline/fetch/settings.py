"""The settings of the stage `fetch`; each field is a key of the table `[fetch]`."""

import dataclasses
from typing import Literal

from filters.images.animation import Animation, AnimationPolicy
from filters.images.aspect_ratio import AspectRatio
from filters.images.size import ImageSize
from pipeline.visit.settings import VisitSettings

Format = Literal["jpeg", "png", "webp", "gif", "avif"]
ResizeMode = Literal["keep_ratio", "keep_ratio_largest", "center_crop", "border", "no"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Which images are kept, and how they are stored."""

    max_bytes: int = 20 << 20
    """Largest body in bytes, as sent and as decoded; provisional."""
    formats: tuple[Format, ...] = ("jpeg", "png", "webp", "gif", "avif")
    """Formats that are kept, by their first bytes."""
    min_image_size: int = 64
    """Short side in px; provisional."""
    max_aspect_ratio: float = 3.0
    """Long side over short side; DataComp's basic filter."""
    max_pixels: int = 50_000_000
    """Width times height, judged by the header before any pixel is decoded; provisional."""
    max_decoded_bytes: int = 200 << 20
    """Bytes of the decoded image, of a JPEG at the scale of its decode; provisional."""
    animation: AnimationPolicy = "first"
    """`first` keeps the first frame of an animation, `drop` drops it."""
    icc: Literal["srgb", "ignore"] = "srgb"
    """`srgb` converts images that bring another RGB profile; hashes never see the conversion."""
    image_size: int = 256
    """Side of the stored image in px; 256 as in img2dataset. Images are never enlarged."""
    resize_mode: ResizeMode = "keep_ratio"
    """What `image_size` is: `keep_ratio` the short side, `keep_ratio_largest` the long side,
    `center_crop` the middle square, `border` the long side, padded white to a square."""
    resize_filter: Literal["fast", "hamming"] = "fast"
    """`fast`: the area average from half size down, else Hamming."""
    encode_quality: int = 95
    """JPEG quality, 1 to 100; 95 as in img2dataset."""
    keep_original: Literal["never", "unchanged"] = "never"
    """`unchanged` stores a JPEG byte for byte, its EXIF (GPS) included, if its size stays."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_decoded_bytes", "image_size"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not 1 <= self.encode_quality <= 100:
            raise ValueError(f"encode_quality must be 1 to 100, got {self.encode_quality!r}")
        if not self.formats:
            raise ValueError("formats must name at least one format, got none")
        if not self.min_image_size >= 1:
            raise ValueError(f"min_image_size must be at least 1, got {self.min_image_size!r}")
        if not self.max_aspect_ratio >= 1:
            raise ValueError(f"max_aspect_ratio must be at least 1, got {self.max_aspect_ratio!r}")
        if not self.max_pixels >= 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels!r}")

    @property
    def size_filter(self) -> ImageSize:
        """The filter of `min_image_size` and `max_pixels`."""
        return ImageSize(min_px=self.min_image_size, max_pixels=self.max_pixels)

    @property
    def ratio_filter(self) -> AspectRatio:
        """The filter of `max_aspect_ratio`."""
        return AspectRatio(max_ratio=self.max_aspect_ratio)

    @property
    def animation_filter(self) -> Animation:
        """The filter of `animation`."""
        return Animation(policy=self.animation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchSettings(ImageSettings, VisitSettings):
    """Where images come from, which are kept, and how they are stored."""

    source: Literal["archive", "web", "auto"] = "archive"
    """`archive`: the image's own response record in the input archives, no network; `web`: its
    host; `auto`: its host if the archives do not hold it."""
    engine: Literal["pycurl", "img2dataset"] = "pycurl"
    """What asks hosts. `img2dataset`: its downloader, of the extra of that name, behind our robots
    and TDM checks; it needs `trusted`."""
    trusted: bool = False
    """Whether the list is harmless: img2dataset knows no refused addresses, no cap on bytes, no
    limits per host, and follows redirects anywhere."""
    unit_rows: int = 1024
    """Pairs of a unit of the archive, as a target: there are as many units as the smallest power of
    two that keeps the mean at most this. Smaller units lose less to a crash and spread better over
    workers."""
    rounds: int = 3
    """How often what failed for now is asked again, the first time counted; provisional."""
    reuse: tuple[str, ...] | Literal["auto", "never"] = "auto"
    """`auto` asks no URL whose outcome a committed round of the same root holds already, under
    equal settings of images and consent. A list names rounds that count beside these: the stage
    directories `fetch-r*` of other roots, whose images are copied."""
    pairs_per_url: int = 64
    """Pairs of one URL, those with the smallest ids; provisional."""
    segment_bytes: int = 256 << 20
    """Stored images after which a unit saves its state; a crash loses no more; provisional."""
    segment_s: float = 600.0
    """The same in seconds; provisional."""

    def __post_init__(self) -> None:
        ImageSettings.__post_init__(self)
        VisitSettings.__post_init__(self)
        if self.engine == "img2dataset" and not self.trusted:
            raise ValueError(
                "engine 'img2dataset' must only be given lists that are trusted, for it asks any "
                "address: set trusted = true, or engine = 'pycurl', got trusted = false"
            )
        for name in ("unit_rows", "rounds", "pairs_per_url", "segment_bytes"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")

    @property
    def needs_network(self) -> bool:
        """Whether hosts are asked at all."""
        return self.source != "archive"


IMAGE_KEYS = tuple(field.name for field in dataclasses.fields(ImageSettings))
"""The settings of images, by name."""
_NO_ROW = frozenset(
    {
        *(
            "source",
            "trusted",
            "unit_rows",
            "rounds",
            "reuse",
            "segment_bytes",
            "segment_s",
            "contact",
        ),
        *("delay_s", "delay_factor", "delay_max_s", "crawl_delay_max_s", "max_in_flight"),
        *("host_connections", "site_connections", "address_connections", "buffer_bytes"),
        *("connect_to", "site", *IMAGE_KEYS),
    }
)
WEB_KEYS = tuple(
    field.name for field in dataclasses.fields(FetchSettings) if field.name not in _NO_ROW
)
"""The settings of visits that can change rows, by name; grants count by lanes and budget."""
