import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.fetch.locate import (
    PENDING,
    RECORDS,
    best_records,
    pending_rows,
    url_buckets,
    usable_records,
)
from pipeline.records import IMAGES, MATCHED

DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
IMAGE: dict[str, Any] = {
    "url": "http://a/x",
    "kind": "image",
    "source_file": "f",
    "offset": 0,
    "length": 9,
    "status": 200,
    "optout": [],
}


def index(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**IMAGE, **row} for row in rows], schema=IMAGES)


@pytest.mark.parametrize(
    ("row", "is_used"),
    [
        ({}, True),
        ({"status": None}, True),  # a resource record has no status
        ({"status": 404}, False),
        ({"truncated": "length"}, False),
        ({"kind": "redirect", "status": 301, "location": "/y"}, True),
        ({"kind": "redirect", "status": 301}, False),
        ({"kind": "revisit", "refers_to_url": "http://a/y"}, True),
        ({"kind": "revisit", "refers_to_url": "http://a/x"}, False),
        ({"kind": "revisit"}, False),
    ],
)
def test_only_whole_images_and_records_that_lead_on_are_used(
    row: dict[str, Any], is_used: bool
) -> None:
    assert usable_records(index(row)).num_rows == is_used


def test_a_revisit_leads_to_the_url_it_refers_to() -> None:
    row = {"kind": "revisit", "refers_to_url": "http://a/y", "location": "http://a/z"}
    found = usable_records(index(row)).to_pylist()[0]
    assert (found["is_image"], found["location"]) == (False, "http://a/y")


def test_the_best_record_is_an_image_the_newest_the_first() -> None:
    later = DAY + datetime.timedelta(days=1)
    rows = [
        {"url": "http://a/1", "offset": 1, "record_date": DAY},
        {"url": "http://a/1", "offset": 2, "record_date": later},
        {"url": "http://a/1", "offset": 3, "record_date": None},
        {"url": "http://a/2", "kind": "redirect", "location": "/", "record_date": later},
        {"url": "http://a/2", "offset": 4, "record_date": DAY},
        {"url": "http://a/3", "source_file": "g", "offset": 5, "record_date": DAY},
        {"url": "http://a/3", "source_file": "f", "offset": 7, "record_date": DAY},
        {"url": "http://a/3", "source_file": "f", "offset": 6, "record_date": DAY},
    ]
    for ordered in (rows, rows[::-1]):
        found = best_records(pa.Table.from_batches([usable_records(index(*ordered))]))
        assert found["url"].to_pylist() == ["http://a/1", "http://a/2", "http://a/3"]
        assert found["offset"].to_pylist() == [2, 4, 6]


def test_no_records_have_no_best() -> None:
    assert best_records(RECORDS.empty_table()).num_rows == 0


def test_buckets_depend_on_the_url_alone() -> None:
    urls = pa.array([f"http://a/{number}" for number in range(200)])
    found = url_buckets(urls, 8).tolist()
    assert set(found) == set(range(8))
    assert found[50:60] == url_buckets(urls[50:60], 8).tolist()
    assert set(url_buckets(urls, 1).tolist()) == {0}


def test_matched_pairs_first_look_for_their_own_url() -> None:
    empty = MATCHED.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=MATCHED)]
    assert pending_rows(empty[0]).schema == PENDING
