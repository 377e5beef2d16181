"""The Parquet file that img2dataset writes beside a tar: rows by key, failed ones among them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.derivation.foreign.samples import CAPTION_NAMES, URL_NAMES, first_of, url_key
from manifests.format.ids import pair_id

SUCCESS = "success"
_UNUSED = ("exif", "error_message")


@dataclasses.dataclass(frozen=True)
class Listing:
    """Rows that were downloaded, by key; and how the others ended."""

    rows: Mapping[str, Mapping[str, Any]]
    failed: list[dict[str, Any]]
    """Ledger rows: pair id if it can be known, reason, URL, caption."""
    count: int


def read_listing(path: str) -> Listing:
    """Read the file.

    Raises:
        RefusedError: if it cannot be read or has no `key`.
    """
    try:
        with storage.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            names = [name for name in parquet.schema_arrow.names if name not in _UNUSED]
            table = parquet.read(names)
    except (OSError, pa.ArrowException) as error:
        raise RefusedError(f"{path}: cannot be read: {error}") from None
    if "key" not in table.schema.names:
        raise RefusedError(f"{path}: has no column key: it is not of img2dataset")
    rows, failed = {}, []
    for row in table.to_pylist():
        status = row.get("status") or SUCCESS
        if status == SUCCESS:
            rows[str(row["key"])] = row
            continue
        url, caption = url_key(first_of(row, URL_NAMES)), first_of(row, CAPTION_NAMES)
        known = url is not None and isinstance(caption, str)
        failed.append(
            {
                "pair_id": pair_id(url or "", caption) if known else None,
                "stage": "img2dataset",
                "reason": str(status),
                "value": None,
                "count": 1,
                "url": url,
                "caption": caption if isinstance(caption, str) else None,
            }
        )
    return Listing(rows, failed, len(table))
