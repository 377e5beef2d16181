"""Files by path or URI: local ones through the operating system, others through fsspec."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Protocol

from manifests.base.errors import RefusedError

BLOCK_BYTES = 1 << 20
MAX_READ_BYTES = 8 << 20
"""One coalesced read is at most this long (or one range, if that is longer)."""
TEMPORARY = "unnamed.tmp-"
"""How names of files begin that nothing refers to."""


class NewFile(Protocol):
    """A file being written under a temporary name; `publish` gives it its own, whole and synced."""

    bytes: int

    @property
    def sha256(self) -> str:
        """The digest of what was written so far, 64 hexadecimal digits."""

    def write(self, data: Any) -> int:
        """Append bytes and take them into the digest."""

    def publish(self, path: str) -> None:
        """Sync, check the size, and move the file to `path`; an equal name is replaced."""


OpenNew = Callable[[str], contextlib.AbstractContextManager[NewFile]]
"""Opens a `NewFile` in a folder; it is removed when the block ends without `publish`."""
Put = Callable[[str, str], None]
"""Uploads a local file, the first, whole to a URI."""


def is_local(path: str) -> bool:
    """Tell a local path from a URI such as `s3://bucket/name`."""
    return "://" not in path


def join(folder: str, *names: str) -> str:
    """Join names below a folder or URI with `/`."""
    return "/".join([folder.rstrip("/") if folder.strip("/") else folder, *names])


def open_read(path: str) -> IO[bytes]:
    """Open a file as it is stored: nothing is decompressed because of its name."""
    if is_local(path):
        return pathlib.Path(path).open("rb")
    system, name = _system(path)
    opened: IO[bytes] = system.open(name, "rb", compression=None)
    return opened


def size_bytes(path: str) -> int | None:
    """Return a file's size, or None if there is no such file."""
    try:
        if is_local(path):
            stat = pathlib.Path(path).stat()
            return stat.st_size if pathlib.Path(path).is_file() else None
        system, name = _system(path)
        found = system.info(name)
        return int(found["size"]) if found["type"] == "file" else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def sha256_of(path: str) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with open_read(path) as file:
        if is_local(path):
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    if is_local(path):
        pathlib.Path(path).unlink(missing_ok=True)
        return
    system, name = _system(path)
    if system.exists(name):
        system.rm_file(name)


def list_files(root: str) -> dict[str, int]:
    """Return each file below a folder as relative name and size; links are not followed."""
    if not is_local(root):
        system, name = _system(root)
        start = len(name.rstrip("/")) + 1
        found = system.find(name, detail=True)
        return {path[start:]: int(entry["size"]) for path, entry in sorted(found.items())}
    names: dict[str, int] = {}
    for folder, _, files in os.walk(root, followlinks=False):
        for file in files:
            path = pathlib.Path(folder, file)
            names[path.relative_to(root).as_posix()] = path.lstat().st_size
    return dict(sorted(names.items()))


def link_on_the_way(root: str, name: str) -> str | None:
    """Return the first part of `name` below `root` that is a symbolic link, or None."""
    if not is_local(root):
        return None
    path = pathlib.Path(root)
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return path.relative_to(root).as_posix()
    return None


def refuse_link(root: str, name: str) -> None:
    """Refuse to write to `name` below `root` if a symbolic link on the way may lead elsewhere.

    Raises:
        RefusedError: naming the link.
    """
    link = link_on_the_way(root, name)
    if link is not None:
        raise RefusedError(f"{join(root, link)}: a symbolic link: nothing is written through it")


def is_empty(folder: str) -> bool:
    """Tell whether a folder is absent, or holds nothing."""
    if is_local(folder):
        path = pathlib.Path(folder)
        return not path.exists() or (path.is_dir() and not any(path.iterdir()))
    system, name = _system(folder)
    return not system.exists(name) or not system.find(name)


def read_ranges(
    path: str, ranges: Sequence[tuple[int, int]], *, gap_bytes: int = 1 << 16
) -> list[bytes]:
    """Read many ranges of one file with few reads.

    Args:
        path: a path or URI.
        ranges: (offset, length) in bytes, in any order; they may overlap.
        gap_bytes: two ranges closer than this are read together, the gap read and thrown away.

    Returns:
        The bytes of each range, in the order given; shorter where the file ends before.
    """
    with open_read(path) as file:
        return read_file_ranges(file, ranges, gap_bytes=gap_bytes)


def read_file_ranges(
    file: IO[bytes], ranges: Sequence[tuple[int, int]], *, gap_bytes: int = 1 << 16
) -> list[bytes]:
    """Do what `read_ranges` does on an open file."""
    size = file.seek(0, os.SEEK_END)
    ranges = [(offset, max(0, min(length, size - offset))) for offset, length in ranges]
    result = [b""] * len(ranges)
    order = sorted(range(len(ranges)), key=lambda index: ranges[index])
    for run in _runs(order, ranges, gap_bytes):
        start = ranges[run[0]][0]
        end = max(ranges[index][0] + ranges[index][1] for index in run)
        file.seek(start)
        block = memoryview(file.read(end - start))
        for index in run:
            offset, length = ranges[index]
            result[index] = bytes(block[offset - start : offset - start + length])
    return result


def _runs(
    order: list[int], ranges: Sequence[tuple[int, int]], gap_bytes: int
) -> Iterator[list[int]]:
    run: list[int] = []
    start = end = 0
    for index in order:
        offset, length = ranges[index]
        fits = offset + length - start <= MAX_READ_BYTES or offset + length <= end
        if run and offset - end <= gap_bytes and fits:
            run.append(index)
            end = max(end, offset + length)
            continue
        if run:
            yield run
        run, start, end = [index], offset, offset + length
    if run:
        yield run


class _DigestedFile:
    """The `NewFile` of this module; remote files are written locally first, then put whole."""

    def __init__(self, folder: str, put: Put) -> None:
        self._put = put
        local = pathlib.Path(folder if is_local(folder) else tempfile.gettempdir())
        local.mkdir(parents=True, exist_ok=True)
        self._temporary = local / f"{TEMPORARY}{uuid.uuid4().hex}"
        self._file = self._temporary.open("wb", buffering=BLOCK_BYTES)
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def closed(self) -> bool:
        """Whether the temporary file is closed, as pyarrow asks."""
        return self._file.closed

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: Any) -> int:
        self._digest.update(data)
        count = self._file.write(data)
        self.bytes += count
        return count

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self.bytes

    def flush(self) -> None:
        """Pass written bytes to the operating system."""
        if not self._file.closed:
            self._file.flush()

    def publish(self, path: str) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._temporary.stat().st_size != self.bytes:
            raise OSError(f"{path}: {self.bytes} bytes were written, the disk holds another number")
        if is_local(path):
            self._temporary.replace(path)
            _sync_folder(pathlib.Path(path).parent)
            return
        self._put(str(self._temporary), path)
        self._temporary.unlink()

    def discard(self) -> None:
        """Close and remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError):  # of bytes that nobody wants, on a full disk
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def put(local: str, path: str) -> None:
    """Upload a local file whole to a URI."""
    system, name = _system(path)
    system.put_file(local, name)


@contextlib.contextmanager
def new_file(folder: str, put: Put = put) -> Iterator[NewFile]:
    """Give a `NewFile` that is removed when the block ends without `publish`.

    Args:
        folder: where it is written; for a URI, in the system's temporary folder.
        put: uploads a local file to a URI.
    """
    file = _DigestedFile(folder, put)
    try:
        yield file
    finally:
        file.discard()


def write_atomic(path: str, data: bytes) -> None:
    """Write a small file that appears under its name whole, or not at all."""
    with new_file(path.rpartition("/")[0] or ".") as file:
        file.write(data)
        file.publish(path)


def _sync_folder(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _system(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, name = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:  # it names what to install, or what it knows
        raise RefusedError(f"{path}: cannot be reached: {error}") from None
    return system, name
