"""Bodies from blobs of earlier rounds, which stored them as they came: prepared anew, not asked."""

import pyarrow as pa

from pipeline.engine import files
from pipeline.fetch.asking.store import Store

_ANSWER = (
    *("url", "image_source", "fetched_at", "attempts", "redirects", "http_status", "final_url"),
    *("ip", "content_type", "etag", "last_modified"),
)
"""Columns that do not follow from the image settings."""


def take_kept(rows: pa.Table, store: Store, root: str) -> list[str]:
    """Keep what the bodies give under the settings of now, and return their URLs.

    A blob that somebody has removed tells nothing.

    Args:
        rows: `OUTCOMES` with `reencoded` false.
        store: takes the outcomes.
        root: ROOT, below which the blobs are.
    """
    urls: dict[str, None] = {}
    places = (*_ANSWER, "blob", "blob_offset", "blob_bytes")
    for row in rows.select(places).to_pylist():
        path = files.join(root, row["blob"])
        if row["url"] in urls or files.size_bytes(path) is None:
            continue
        urls[row["url"]] = None
        with files.open_read(path) as file:
            file.seek(row["blob_offset"])
            body = file.read(row["blob_bytes"])
        store.take({name: row[name] for name in _ANSWER}, body)
        if store.is_due:
            store.save(store.journal.facts)
    return list(urls)
