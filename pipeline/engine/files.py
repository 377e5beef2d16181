"""Files by path or URI, as `manifests.base.storage` has them, and what only the pipeline reads.

`gs://` and `hdfs://` go through Beam's FileSystems, which workers on Beam's images have. Beam knows
no web: URLs are read by range requests, never whole.
"""

import contextlib
import hashlib
import http
import io
import os
import pathlib
import shutil
import tempfile
from typing import IO, Any, cast

from manifests.base import storage
from manifests.base.storage import NewFile, is_local, join

__all__ = [
    "NewFile",
    "is_local",
    "is_web",
    "join",
    "make_folder",
    "new_file",
    "open_read",
    "read_bytes",
    "remove",
    "scratch_file",
    "sha256_of",
    "size_bytes",
    "sweep",
    "web_session",
    "write_atomic",
]

OF_BEAM = ("gs://", "hdfs://")
"""Not `s3://`: each call of Beam 2.77 makes a client, 0.1 CPU-s, and empty files fail."""
READ_BYTES = 1 << 20
WEB_TIMEOUT_SECONDS = 60
WEB_TRIES = 5
"""With pauses that double between: half a minute in all."""


def is_web(path: str) -> bool:
    """Tell a URL, which can be read only."""
    return path.startswith(("https://", "http://"))


def size_bytes(path: str) -> int | None:
    """Return a file's size, or None if there is no such file."""
    if is_web(path):
        return _web_size(path)
    if path.startswith(OF_BEAM):
        system = _beam().get_filesystem(path)  # its `match` would take `[` for a pattern
        return int(system.size(path)) if system.exists(path) else None
    return storage.size_bytes(path)


def open_read(path: str) -> IO[bytes]:
    """Open a file as it is stored: nothing is decompressed because of its name."""
    if is_web(path):
        return cast(IO[bytes], io.BufferedReader(_WebFile(path), READ_BYTES))
    if path.startswith(OF_BEAM):
        return cast(IO[bytes], _beam().open(path, compression_type="uncompressed"))
    return storage.open_read(path)


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
    if not path.startswith(OF_BEAM):
        storage.remove(path)
    elif size_bytes(path) is not None:
        _beam().delete([path])


def scratch_file(folder: str) -> IO[bytes]:
    """Open a new file, with a name of its own, in a local folder; it lasts until `sweep`."""
    make_folder(folder)
    return cast(
        IO[bytes], tempfile.NamedTemporaryFile(prefix=storage.TEMPORARY, dir=folder, delete=False)
    )


def sweep(folder: str) -> None:
    """Remove scratch files, and what killed attempts left half written, in a local folder.

    Nobody may be writing to it.
    """
    if is_local(folder):
        for path in pathlib.Path(folder).glob(f"{storage.TEMPORARY}*"):
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


def new_file(folder: str) -> contextlib.AbstractContextManager[NewFile]:
    """Give a `NewFile` that is removed when the block ends without `publish`."""
    return storage.new_file(folder, _put)


def _put(local: str, path: str) -> None:
    if not path.startswith(OF_BEAM):
        storage.put(local, path)
        return
    with (
        pathlib.Path(local).open("rb") as source,
        _beam().create(path, compression_type="uncompressed") as target,
    ):
        shutil.copyfileobj(source, target, READ_BYTES)


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


def _beam() -> Any:
    """Return Beam's FileSystems; where no pipeline has set options, the environment says all."""
    from apache_beam.io.filesystems import FileSystems

    if FileSystems._pipeline_options is None:
        from apache_beam.options.pipeline_options import PipelineOptions

        FileSystems.set_options(PipelineOptions(flags=[]))
    return FileSystems
