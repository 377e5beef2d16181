import csv
import io
import pathlib
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.dedup.audit import by_distance, wilson
from pipeline.engine.stage_dir import StageRecord
from tests.pipeline.dedup.fetched_rows import Dedup, Outcome, flipped, make_row


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def test_the_interval_is_wilsons() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(5, 100)  # 2.15 % to 11.18 %: Newcombe 1998, table of method 3
    assert (low, high) == pytest.approx((0.0215, 0.1118), abs=1e-4)
    assert wilson(0, 1000)[1] == pytest.approx(0.00383, abs=1e-5)


def test_distances_are_counted_by_range() -> None:
    found = by_distance(np.array([0, 1, 15, 16, 31, 32, 64, 65, 100], np.uint16))
    assert found == {"0-0": 1, "1-15": 2, "16-31": 2, "32-64": 2, "65-100": 2}


def audit_of(outcome: Outcome) -> StageRecord:
    return outcome.steps["dedup-audit"]


def apart_in_every_band(data: bytes, bits: int) -> bytes:
    """Flip bits so that no band stays: the two images meet in no table."""
    flips = np.zeros(512, np.uint8)
    flips[::32] = 1
    flips[1 : 1 + bits - 16] ^= 1
    return (np.frombuffer(data, np.uint8) ^ np.packbits(flips)).tobytes()


def test_near_duplicates_that_share_no_band_are_measured(dedup: Dedup) -> None:
    first = make_row(1)
    missed = make_row(2, seed=1, dedup_hash=apart_in_every_band(first["dedup_hash"], 20))
    others = [make_row(n) for n in range(3, 9)]
    outcome = dedup([first, *others[:3]], [missed, *others[3:]], audit_sample=100)
    assert missed["pair_id"] in outcome.kept
    notes = audit_of(outcome).units[0].notes
    assert (notes["sample"], notes["rows_with_missed"]) == (8, 2)
    assert notes["missed_by_distance"]["16-31"] == 2
    rows = pq.read_table(audit_of(outcome).paths("part")[0]).to_pylist()
    assert {row["pair_id"] for row in rows} == {first["pair_id"], missed["pair_id"]}


def test_a_sample_is_part_of_a_larger_one(dedup: Dedup) -> None:
    rows = [make_row(n) for n in range(40)]
    sizes = [
        audit_of(dedup(rows[:9], rows[9:], audit_sample=size)).units[0].notes["sample"]
        for size in (5, 100)
    ]
    assert sizes == [5, 40]


def test_the_page_shows_pairs_of_every_range_and_the_table_asks_for_a_verdict(
    dedup: Dedup,
) -> None:
    root = pathlib.Path(f"{dedup.engine.root}-1")
    root.mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    (root / "b").write_bytes(buffer.getvalue())
    first = make_row(1, original_width=9000, original_height=9000)
    stored = {"blob_bytes": len(buffer.getvalue())}
    rows = [{**first, **stored}] + [
        make_row(
            10 + bits,
            seed=1,
            text=f"<b>{bits}</b>",
            dedup_hash=flipped(first["dedup_hash"], bits),
            **stored,
        )
        for bits in (0, 1, 2, 3, 20, 40)
    ]
    outcome = dedup(rows, audit_pairs=4)
    record = audit_of(outcome)
    page = pathlib.Path(record.paths("page")[0]).read_text("utf-8")
    table = list(csv.DictReader(io.StringIO(pathlib.Path(record.paths("table")[0]).read_text())))
    distances = [int(row["distance"]) for row in table]
    assert (len(table), distances[0], distances[2:]) == (4, 0, [20, 40])
    assert {row["verdict"] for row in table} == {""}
    assert {row["kept"] for row in table} == {first["pair_id"].hex()}
    assert page.count("data:image/jpeg;base64,") == 8
    assert "&lt;b&gt;20" in page
    assert "<b>" not in page


def test_an_audit_of_nothing_is_no_step(dedup: Dedup) -> None:
    assert "dedup-audit" not in dedup([make_row(1)]).steps
    assert audit_of(dedup([], audit_sample=10)).units[0].notes["sample"] == 0
