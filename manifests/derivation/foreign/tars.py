"""Samples of a tar as WebDataset groups them, found by offset; nothing is extracted."""

import dataclasses
import tarfile
from collections.abc import Iterator

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.tar import BLOCK

IMAGE_EXTS = ("jpg", "jpeg", "png", "webp")
MAX_TEXT_MEMBER_BYTES = 1 << 22
"""A text or JSON member that is longer is not read."""


@dataclasses.dataclass
class Found:
    """One sample: its members by extension, each as (offset of the data, bytes)."""

    key: str
    members: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    repeated: bool = False
    """Whether a member was there twice; the first one counts."""

    @property
    def image_ext(self) -> str | None:
        """The extension of its image, or None."""
        return next((ext for ext in IMAGE_EXTS if ext in self.members), None)


@dataclasses.dataclass
class Scan:
    """The samples of a tar, in the order of their first members."""

    samples: list[Found]
    is_truncated: bool = False


def scan(path: str) -> Scan:
    """Find the samples of a tar: a name up to the first dot of its last part is the key.

    Raises:
        RefusedError: if the file is no plain tar; compressed ones allow no reads by offset.
    """
    size = storage.size_bytes(path) or 0
    found: dict[str, Found] = {}
    result = Scan([])
    try:
        with storage.open_read(path) as file, tarfile.open(fileobj=file, mode="r:") as opened:
            for member in _members(opened, result):
                if not member.isfile():
                    continue
                if member.offset_data + member.size > size:
                    result.is_truncated = True
                    continue
                key, ext = _split(member.name)
                sample = found.setdefault(key, Found(key))
                if ext in sample.members:
                    sample.repeated = True
                else:
                    sample.members[ext] = (member.offset_data, member.size)
            # tarfile takes a file that ends within a header for one that ends well.
            file.seek(opened.offset)
            result.is_truncated |= len(file.read(BLOCK)) < BLOCK
    except tarfile.ReadError as error:
        raise RefusedError(
            f"{path}: not a plain tar: {error}: compressed tars allow no reads by offset, unpack it"
        ) from None
    result.samples = list(found.values())
    return result


def _members(opened: tarfile.TarFile, result: Scan) -> Iterator[tarfile.TarInfo]:
    """Yield the members up to where the archive breaks."""
    while True:
        try:
            member = opened.next()
        except tarfile.TarError:
            result.is_truncated = True
            return
        if member is None:
            return
        yield member
        opened.members = []  # type: ignore[attr-defined] # tarfile keeps every header it has seen


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, _, ext = base.partition(".")
    return f"{folder}{slash}{stem}", ext.lower()
