"""Where a crawl begins: URLs of the configuration and of files."""

import codecs
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from filters.urls.url_key import join_url
from filters.verdict import DropReason
from manifests.base.errors import RefusedError
from pipeline.crawl.frontier import LINKS
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.units import Source, Unit

_PARQUET = b"PAR1"


def read_seeds(entries: Sequence[str], absolute: Callable[[str], str]) -> list[str]:
    """Return the URL keys of all seeds, sorted, each once.

    Args:
        entries: URLs, and paths of files that list them.
        absolute: gives the place of a path.

    Raises:
        RefusedError: if a file cannot be read, or a line is no URL.
    """
    urls: set[str] = set()
    for entry in entries:
        is_url = entry.startswith(("http://", "https://"))
        for raw in [entry] if is_url else _listed(entry, absolute(entry)):
            url = join_url("", raw)
            if isinstance(url, DropReason):
                raise RefusedError(f"crawl.seeds: {raw[:200]!r} of {entry}: {url}: take it out")
            urls.add(url)
    return sorted(urls)


def _listed(entry: str, path: str) -> list[str]:
    """Return the URLs of a text file, one a line, or of a Parquet file's column `url`."""
    try:
        data = files.read_bytes(path)
        if data.startswith(_PARQUET):
            return [str(url) for url in pq.read_table(path, columns=["url"])["url"].to_pylist()]
        lines = data.removeprefix(codecs.BOM_UTF8).decode().splitlines()
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise RefusedError(f"crawl.seeds: {entry}: cannot be read: {error}") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclasses.dataclass(frozen=True)
class SeedsKernel:
    """Writes the seeds as links from nowhere."""

    urls: tuple[str, ...]

    def run(self, unit: Unit, sink: Sink) -> None:
        """Write them all; the unit stands for them."""
        rows = [{"url": url, "kind": "page", "depth": 0, "page": None} for url in self.urls]
        sink.write(pa.RecordBatch.from_pylist(rows, schema=LINKS), "seeds")


def seeds_unit(urls: Sequence[str]) -> Unit:
    """Return the unit that stands for the seeds."""
    text = "".join(f"{url}\n" for url in urls).encode()
    digest = hashlib.sha256(text).hexdigest()
    source = Source(role="input", path="", name="seeds", bytes=len(text), sha256=digest)
    return Unit(id=digest[:16], sources=(source,))
