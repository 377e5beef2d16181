"""The files of a Common Crawl: its published listing, whole or a sample of it."""

import gzip
import heapq
import re
import zlib
from collections.abc import Sequence
from typing import Literal

import requests

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.ids import keyed_hash
from pipeline.engine.files import web_session

BASE_URL = "https://data.commoncrawl.org/"
TIMEOUT_SECONDS = 60
_CRAWL_ID = re.compile(r"CC-MAIN-\d{4}(-\d\d(\d\d)?)?", re.ASCII)

Kind = Literal["warc", "wat"]


def list_inputs(
    crawl_id: str,
    kind: Kind,
    *,
    sample: int | None = None,
    seed: int = 0,
    base_url: str = BASE_URL,
    session: requests.Session | None = None,
) -> list[str]:
    """Return the URLs of a crawl's files, in the order of its listing.

    Args:
        crawl_id: such as `CC-MAIN-2024-10`.
        kind: of the files.
        sample: so many, drawn without replacement; None for all. A smaller sample of the same
            seed is part of a larger one.
        seed: another one draws other files.
        base_url: where the crawls are, with `/` at its end.
        session: makes the request; None for one that tries again.

    Raises:
        RefusedError: if there is no such crawl, or `sample` is below 1 or above its files.
        OpenwitError: if the listing cannot be had or read.
    """
    if not _CRAWL_ID.fullmatch(crawl_id):
        raise RefusedError(f"crawl ID: {crawl_id}: not of the form CC-MAIN-2024-10")
    if sample is not None and sample < 1:
        raise RefusedError(f"--sample: {sample}: must be at least 1")
    url = f"{base_url}crawl-data/{crawl_id}/{kind}.paths.gz"
    with session or web_session() as opened:
        paths = _paths(opened, url)
    if sample is None:
        return [base_url + path for path in paths]
    if sample > len(paths):
        raise RefusedError(f"--sample: {sample}: {url} lists {len(paths)} files: ask for fewer")
    return [base_url + paths[at] for at in sorted(_drawn(paths, sample, seed))]


def _drawn(paths: Sequence[str], sample: int, seed: int) -> list[int]:
    """Return the places of the `sample` paths whose keyed hashes are the smallest."""
    key = f"openwit.inputs.{seed}"
    hashes = ((keyed_hash(path.encode(), key), at) for at, path in enumerate(paths))
    return [at for _, at in heapq.nsmallest(sample, hashes)]


def _paths(session: requests.Session, url: str) -> list[str]:
    try:
        answer = session.get(url, timeout=TIMEOUT_SECONDS)
        if answer.status_code in {403, 404}:
            raise RefusedError(
                f"{url}: {answer.status_code}: no such crawl, or no files of this kind: "
                "https://index.commoncrawl.org/ lists all crawls"
            )
        answer.raise_for_status()
        lines = gzip.decompress(answer.content).decode("ascii").splitlines()
    except requests.RequestException as error:
        raise OpenwitError(f"{url}: {error}: run the same command again") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise OpenwitError(f"{url}: no listing ({error}): run the same command again") from None
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
