"""A dataset whose captions, queries, licences and name would like to be more than text."""

import dataclasses
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.format import Manifest, commit, load
from tests.manifests.damage import Copy, change_row

HOSTILE = [
    "<script>window.owned=1</script>",
    "</script><script>window.owned=2</script>",
    '"><img src=x onerror="window.owned=3">',
    "</style><!--",
    "{{7*7}}",
    "&lt;b&gt;",
    "javascript:window.owned=4",
    "a\u202eb\u2028c\x1b[31m",
    "x" * 2000,
]


def hostile_dataset(make_dataset: Callable[..., Manifest]) -> Manifest:
    """Nine samples are hostile, two queries, and what the manifest says of the collection."""
    copy = Copy(make_dataset(2 * len(HOSTILE), len(HOSTILE)))
    rows = copy.rows()
    for number, text in enumerate(HOSTILE):
        rows = change_row(rows, number, caption=text, license_url=text, lang=text)
    copy.rewrite(rows=rows)
    queries = pq.read_table(copy.root / "queries.parquet")
    names = pa.array([HOSTILE[1], HOSTILE[2]])
    changed = queries.set_column(1, queries.schema.field(1), names)
    pq.write_table(changed, copy.root / "queries.parquet")
    manifest = dataclasses.replace(
        load(str(copy.root)), name=HOSTILE[1], description=HOSTILE[2], license=HOSTILE[4]
    )
    commit(str(copy.root), manifest)
    return manifest
