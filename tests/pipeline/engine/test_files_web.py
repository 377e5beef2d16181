import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from pipeline.engine import files

DATA = hashlib.shake_256(b"data").digest(300_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `DATA` by ranges, as the paths say: each gives its own trouble first."""

    seen: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        code = {"/missing": 404, "/forbidden": 403}.get(self.path, 200)
        self._answer(code, {"Content-Length": str(len(DATA))})

    def do_GET(self) -> None:
        self.seen.append(f"{self.path} {self.headers['Range']}")
        first = self.seen.count(self.seen[-1]) == 1
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if self.path == "/busy" and first:
            self._answer(503, {"Content-Length": "0"})
        elif self.path == "/whole" or not found:
            self._answer(200, {"Content-Length": str(len(DATA))}, DATA)
        else:
            start, end = int(found[1]), int(found[2]) + 1
            size = len(DATA) + (self.path == "/changed")
            body = DATA[start:end]
            headers = {
                "Content-Range": f"bytes {start}-{end - 1}/{size}",
                "Content-Length": str(len(body)),
            }
            is_cut = self.path == "/cut" and first
            self._answer(206, headers, body[: len(body) // 2] if is_cut else body)
            self.close_connection = is_cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as above)
        """Say nothing of each request."""

    def _answer(self, code: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def base() -> Iterator[str]:
    """Where the server is."""
    Handler.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/a", "/busy", "/cut"])
def test_a_file_of_the_web_is_read_from_anywhere(
    path: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ_BYTES", 100_000)
    with files.open_read(base + path) as file:
        assert file.read(10) == DATA[:10]
        assert file.seek(-5, 2) == len(DATA) - 5
        assert file.read() == DATA[-5:]
        file.seek(150_000)
        assert file.read(20) == DATA[150_000:150_020]
        file.seek(0)
        assert file.read() == DATA
    assert all("bytes=" in each for each in Handler.seen)
    assert files.sha256_of(base + path) == hashlib.sha256(DATA).hexdigest()


def test_the_size_of_a_file_of_the_web_is_asked_for(base: str) -> None:
    assert files.size_bytes(base + "/a") == len(DATA)
    assert files.size_bytes(base + "/missing") is None
    assert Handler.seen == []
    with pytest.raises(OSError, match="403"):
        files.size_bytes(base + "/forbidden")


@pytest.mark.parametrize("path", ["/whole", "/changed"])
def test_an_answer_that_is_not_the_range_is_a_fault_of_the_storage(path: str, base: str) -> None:
    with files.open_read(base + path) as file, pytest.raises(OSError, match="answered"):
        file.read(10)


def test_a_file_that_is_not_there_cannot_be_opened(base: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.open_read(base + "/missing")


def test_reading_moves_forward_in_blocks(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "READ_BYTES", 100_000)
    with files.open_read(base + "/a") as file:
        while file.read(1000):
            pass
    blocks: list[Any] = [f"/a bytes={at}-{at + 99_999}" for at in (0, 100_000, 200_000)]
    assert Handler.seen == blocks
