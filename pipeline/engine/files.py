"""Files by path or URI: local ones by the operating system, others by Beam's FileSystems.

Beam knows no web: URLs are read by range requests, never whole.
"""

import contextlib
import hashlib
import http
import io
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO, Any, cast

READ_BYTES = 1 << 20
WEB_TIMEOUT_SECONDS = 60
WEB_TRIES = 5
"""With pauses that double between: half a minute in all."""


def is_local(path: str) -> bool:
    """Tell a local path from a URI such as `s3://bucket/name`."""
    return "://" not in path


def is_web(path: str) -> bool:
    """Tell a URL, which can be read only."""
    return path.startswith(("https://", "http://"))


def join(folder: str, *names: str) -> str:
    """Join names below a folder or URI with `/`."""
    return "/".join([folder.rstrip("/"), *names])


def size_bytes(path: str) -> int | None:
    """Return a file's size, or None if there is no such file."""
    if is_local(path):
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None
    if is_web(path):
        return _web_size(path)
    systems = _file_systems()
    return (
        int(systems.match([path])[0].metadata_list[0].size_in_bytes)
        if systems.exists(path)
        else None
    )


def open_read(path: str) -> IO[bytes]:
    """Open a file as it is stored: nothing is decompressed because of its name."""
    if is_local(path):
        return pathlib.Path(path).open("rb")
    if is_web(path):
        return cast(IO[bytes], io.BufferedReader(_WebFile(path), READ_BYTES))
    from apache_beam.io.filesystem import CompressionTypes

    opened: IO[bytes] = _file_systems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return opened


def read_bytes(path: str) -> bytes:
    """Return a whole file; meant for records and other small files."""
    with open_read(path) as file:
        return file.read()


def sha256_of(path: str) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open_read(path) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    if is_local(path):
        pathlib.Path(path).unlink(missing_ok=True)
    elif size_bytes(path) is not None:
        _file_systems().delete([path])


def sweep(folder: str) -> None:
    """Remove what killed attempts left half written in a local folder that nobody writes to."""
    if is_local(folder):
        for path in pathlib.Path(folder).glob("unnamed.tmp-*"):
            path.unlink(missing_ok=True)


def make_folder(path: str) -> None:
    """Make a local folder and its parents; object stores need none."""
    if is_local(path):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)


def write_atomic(path: str, data: bytes) -> None:
    """Write a small file that appears under its name whole, or not at all."""
    with new_file(path.rpartition("/")[0]) as file:
        file.write(data)
        file.publish(path)


class NewFile(io.RawIOBase):
    """A file being written under a temporary name; `publish` gives it its own, whole and synced."""

    def __init__(self, folder: str) -> None:
        """Open a temporary file in `folder` (in the system's folder when that is remote)."""
        super().__init__()
        local = folder if is_local(folder) else tempfile.gettempdir()
        make_folder(local)
        self._temporary = join(local, f"unnamed.tmp-{uuid.uuid4().hex}")
        self._file = pathlib.Path(self._temporary).open("wb", READ_BYTES)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        """Say that bytes can be written, as the io protocol asks."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes and take them into the digest."""
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

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._digest.hexdigest()

    def publish(self, path: str) -> None:
        """Sync, check the size, and move the file to `path`; an equal name is replaced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if os.stat(self._temporary).st_size != self.bytes:
            raise OSError(f"{path}: {self.bytes} bytes were written, the disk holds another number")
        if is_local(path):
            os.replace(self._temporary, path)
            _sync_folder(os.path.dirname(path) or ".")
            return
        from apache_beam.io.filesystem import CompressionTypes

        with (
            pathlib.Path(self._temporary).open("rb") as source,
            _file_systems().create(path, compression_type=CompressionTypes.UNCOMPRESSED) as target,
        ):
            while block := source.read(READ_BYTES):
                target.write(block)
        os.unlink(self._temporary)

    def discard(self) -> None:
        """Close and remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError):  # of bytes that nobody wants, on a full disk
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


@contextlib.contextmanager
def new_file(folder: str) -> Iterator[NewFile]:
    """Give a `NewFile` that is removed when the block ends without `publish`."""
    file = NewFile(folder)
    try:
        yield file
    finally:
        file.discard()


class _WebFile(io.RawIOBase):
    """A file of the web, never held whole; it must keep its size while it is read."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._session = web_session()
        self._at = 0
        size = _web_size(url)
        if size is None:
            raise FileNotFoundError(f"{url}: no such file")
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if self._at >= end:
            return 0
        data = self._range(self._at, end)
        buffer[: len(data)] = data
        self._at = end
        return len(data)

    def close(self) -> None:
        self._session.close()
        super().close()

    def _range(self, start: int, end: int) -> bytes:
        import requests

        for _ in range(WEB_TRIES):  # the session's own tries end where the body begins
            with contextlib.suppress(
                requests.ConnectionError, requests.exceptions.ChunkedEncodingError
            ):
                return self._ask(start, end)
        return self._ask(start, end)

    def _ask(self, start: int, end: int) -> bytes:
        wanted = f"bytes {start}-{end - 1}/{self._size}"
        headers = {"Range": f"bytes={start}-{end - 1}"}
        with self._session.get(
            self._url, headers=headers, stream=True, timeout=WEB_TIMEOUT_SECONDS
        ) as answer:
            answer.raise_for_status()
            found = answer.headers.get("Content-Range")
            if answer.status_code != http.HTTPStatus.PARTIAL_CONTENT or found != wanted:
                raise OSError(f"{self._url}: answered {found!r} to a request for {wanted!r}")
            return cast(bytes, answer.content)


def _web_size(url: str) -> int | None:
    with web_session() as session:
        answer = session.head(url, allow_redirects=True, timeout=WEB_TIMEOUT_SECONDS)
    if answer.status_code == http.HTTPStatus.NOT_FOUND:
        return None
    answer.raise_for_status()
    return int(answer.headers["Content-Length"])


def web_session() -> Any:
    """Return a `requests.Session` for trusted hosts: it tries again, and takes bytes as stored."""
    import requests
    from urllib3.util.retry import Retry

    retry = Retry(
        total=WEB_TRIES,
        backoff_factor=1,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # ranges count stored bytes
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
    return session


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_systems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
