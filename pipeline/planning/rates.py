"""What a stage makes of a row, and what it costs; the pilot replaces what it can measure."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """What a stage makes of a row: measured on the GIMP manual unless said otherwise."""

    kept: float
    """Rows out per row in; of `extract` per MiB of input."""
    cpu_seconds: float
    """Per row in; of `extract` per MiB of input."""
    start_seconds: float
    """CPU whatever the rows: its jobs, and what they load; measured on the made-up site."""
    shuffle_bytes: int
    """Per row in, of the largest of its shuffles, as packed."""
    disk_bytes: int
    """Per row out."""


RATES: Mapping[str, Rate] = {
    # Provisional: 30 pages a MiB, 8 images with a text each. Here 118, for most bytes are images.
    "extract": Rate(
        kept=250.0, cpu_seconds=0.03, start_seconds=0.9, shuffle_bytes=0, disk_bytes=60
    ),
    # Published: about half of English texts hold a query (MetaCLIP).
    "match": Rate(
        kept=0.5, cpu_seconds=0.00002, start_seconds=0.25, shuffle_bytes=50, disk_bytes=200
    ),
    "preselect": Rate(
        kept=1.0, cpu_seconds=0.00002, start_seconds=0.2, shuffle_bytes=0, disk_bytes=100
    ),
    # Published yields of downloads: COYO 0.85, DataComp small 0.86 to 0.94.
    "fetch": Rate(
        kept=0.85, cpu_seconds=0.007, start_seconds=0.3, shuffle_bytes=150, disk_bytes=20_000
    ),
    # Published: 77.6 % of COYO's pHashes are unique. Edges go in passes of bounded size, so the
    # largest shuffle is that of the nodes. CPU as for 1e6 rows.
    "dedup": Rate(
        kept=0.8, cpu_seconds=0.00006, start_seconds=1.2, shuffle_bytes=300, disk_bytes=900
    ),
    # Measured on 10 million made-up pairs: ids, hashes and ledger; wide rows stay where they are.
    "balance": Rate(
        kept=1.0, cpu_seconds=0.00001, start_seconds=0.6, shuffle_bytes=0, disk_bytes=60
    ),
    "shards": Rate(
        kept=1.0, cpu_seconds=0.0002, start_seconds=0.3, shuffle_bytes=500, disk_bytes=26_000
    ),
}
