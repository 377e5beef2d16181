"""Bodies from blobs of earlier rounds: prepared anew, or copied; no host is asked."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.engine import files
from pipeline.fetch.asking.store import Store

_ANSWER = (
    *("url", "image_source", "fetched_at", "attempts", "redirects", "http_status", "final_url"),
    *("ip", "content_type", "etag", "last_modified"),
)
"""Columns that do not follow from the image settings."""


def take_kept(rows: pa.Table, store: Store) -> list[str]:
    """Keep what the bodies give under the settings of now, and return their URLs.

    Args:
        rows: `OUTCOMES` with `reencoded` false, `blob` a path or URI.
        store: takes the outcomes.
    """
    done = []
    for row, body in _stored(rows):
        store.take({name: row[name] for name in _ANSWER}, body)
        done.append(row["url"])
        if store.is_due:
            store.save(store.journal.facts)
    return done


def take_copied(rows: pa.Table, store: Store) -> list[str]:
    """Copy images of other roots with all that is known of them, and return their URLs.

    Args:
        rows: `OUTCOMES` under equal settings of images, `blob` a path or URI.
        store: takes the outcomes.
    """
    done = []
    for row, image in _stored(rows):
        if hashlib.sha256(image).digest() != row["sha256"]:
            continue  # damaged: its host is asked
        store.copy(row, image)
        done.append(row["url"])
        if store.is_due:
            store.save(store.journal.facts)
    return done


def _stored(rows: pa.Table) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield each URL once with its bytes; a blob that somebody has removed tells nothing."""
    seen = set()
    for row in rows.to_pylist():
        if row["url"] in seen or files.size_bytes(row["blob"]) is None:
            continue
        seen.add(row["url"])
        with files.open_read(row["blob"]) as file:
            file.seek(row["blob_offset"])
            yield row, file.read(row["blob_bytes"])
