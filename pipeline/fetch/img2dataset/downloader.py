"""The engine "img2dataset": its downloader in a process group of its own, for trusted lists.

It has no guard of addresses, no cap on bytes, no limit per host and follows redirects anywhere; so
it runs only where `fetch.trusted` says that the list is harmless. Never in this process: it takes
over file descriptors and signals, and deletes its input.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from filters.verdict import Drop, DropReason
from manifests.base.errors import ConfigError, OpenwitError
from pipeline.fetch.img2dataset.messages import failure
from pipeline.fetch.settings import FetchSettings

PYTHON = sys.executable
"""Has the package."""
MODULE = "img2dataset"
BATCH_URLS = 1_000
"""Of one process; its start takes about 5 s."""
START_SECONDS = 600
"""A process is killed after this and `SECONDS_A_URL` for each URL."""
SECONDS_A_URL = 1.0
_CODE = "from img2dataset.main import main; main()"
_ROWS = 32
"""Bodies that are held at a time."""
_SHOWN_CHARACTERS = 500


def check_installed() -> None:
    """Refuse the engine where its package is not there.

    Raises:
        ConfigError: naming the way out.
    """
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({MODULE!r}) is None)"
    if subprocess.run([PYTHON, "-c", code], check=False).returncode:  # noqa: S603 (our words)
        raise ConfigError(
            "fetch.engine: img2dataset is not installed: pip install 'openwit[img2dataset]', with "
            'a Python below 3.13, or set fetch.engine = "pycurl"'
        )


def download(urls: Sequence[str], settings: FetchSettings) -> Iterator[tuple[str, bytes | Drop]]:
    """Yield each URL once, with the body that img2dataset got or why it has none.

    Raises:
        OpenwitError: if it ended without any result.
    """
    with tempfile.TemporaryDirectory(prefix="openwit-") as name:
        folder = pathlib.Path(name)
        pq.write_table(pa.table({"url": list(urls)}), folder / "urls.parquet")
        is_late = _run(folder, len(urls), settings)
        left = dict.fromkeys(urls)
        for url, body in _results(folder / "out", settings.max_bytes):
            if url in left:
                del left[url]
                yield url, body
        if left and not is_late:
            said = (folder / "said.txt").read_text("utf-8", "replace").strip()
            raise OpenwitError(
                f"img2dataset: ended without a word on {len(left)} of {len(urls)} URLs: "
                f"{said[-_SHOWN_CHARACTERS:]}"
            )
        for url in left:
            yield url, Drop(DropReason.TIMEOUT, "total")


def _run(folder: pathlib.Path, count: int, settings: FetchSettings) -> bool:
    """Run the downloader; tell whether it had to be killed."""
    options = {
        "url_list": folder / "urls.parquet",
        "input_format": "parquet",
        "output_folder": folder / "out",
        "output_format": "parquet",
        "disable_all_reencoding": True,
        "processes_count": 1,
        "thread_count": settings.max_in_flight,
        "number_sample_per_shard": max(2, count),
        "timeout": round(settings.total_s),
        "user_agent_token": "openwit",
        "extract_exif": False,
        "compute_hash": None,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    environment = {
        **os.environ,
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "no_proxy": "*",
    }
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 (words of this file)
            [PYTHON, "-c", _CODE, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            process.wait(START_SECONDS + SECONDS_A_URL * count)
        except subprocess.TimeoutExpired:
            return True
        finally:
            _end_group(process)
    return False


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _results(folder: pathlib.Path, max_bytes: int) -> Iterator[tuple[str, bytes | Drop]]:
    """Read what it has written; a file that it was killed over has no end and is passed over."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            parquet = pq.ParquetFile(path)
        except pa.ArrowInvalid:
            continue
        columns = ["url", "status", "error_message", "jpg"]
        for batch in parquet.iter_batches(_ROWS, columns=columns):
            for row in batch.to_pylist():
                body = row["jpg"] or b""
                drop = failure(row["status"], row["error_message"])
                if drop is None and len(body) > max_bytes:
                    drop = Drop(DropReason.TOO_LARGE, len(body))
                yield row["url"], drop or body or Drop(DropReason.EMPTY_BODY)
