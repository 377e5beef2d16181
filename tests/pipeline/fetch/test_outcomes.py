import pyarrow as pa
import pytest

from pipeline.fetch import outcomes
from pipeline.fetch.outcomes import OUTCOMES, WAITING, settle

PAIRS = pa.Table.from_pylist(
    [
        {"pair_id": bytes([name]) * 16, "target": f"http://a.example/{url}", "redirects": 0}
        for name, url in ((5, 1), (2, 2), (4, 1), (1, 3), (3, 2))
    ],
    schema=WAITING,
)
REFUSED = pa.table(
    {"pair_id": [bytes([4]) * 16], "reason": ["url_fanout"], "value": pa.nulls(1, pa.string())}
)
FOUND = pa.Table.from_pylist(
    [
        {"url": "http://a.example/1", "blob": "one"},
        {"url": "http://a.example/2", "reason": "http_gone", "value": "404", "redirects": 1},
        {"url": "http://a.example/3", "blob": "three"},
    ],
    schema=OUTCOMES,
)


@pytest.mark.parametrize("rows", [1, 2, 5, 1024])
def test_pairs_settle_in_the_order_of_their_ids_however_many_at_once(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(outcomes, "SETTLED_ROWS", rows)
    settled = list(settle(PAIRS, REFUSED, FOUND))
    assert max(each.part.num_rows + each.lost.num_rows for each in settled) <= rows
    part = [row for each in settled for row in each.part.to_pylist()]
    lost = [row for each in settled for row in each.lost.to_pylist()]
    assert [(row["pair_id"][0], row["blob"]) for row in part] == [(1, "three"), (5, "one")]
    assert [(row["pair_id"][0], row["reason"], row["redirects"]) for row in lost] == [
        (2, "http_gone", 1), (3, "http_gone", 1), (4, "url_fanout", 0)
    ]  # fmt: skip


def test_a_bucket_without_pairs_settles_nothing() -> None:
    assert not list(settle(PAIRS.slice(0, 0), REFUSED, FOUND))
