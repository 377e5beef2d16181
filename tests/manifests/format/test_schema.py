import hashlib
import json
from typing import Any

import pyarrow as pa

from manifests.format.schema import DEDUP_COLUMNS, SAMPLES, describe, json_members, sample_schema


def make_row(**changes: Any) -> pa.RecordBatch:
    row = {
        "pair_id": "5836a3eecff53951d31311f58fb160f1",
        "url": "http://example.com/a.jpg",
        "page_url": None,
        "caption": "café",
        "license_url": None,
        "sha256": "ab" * 32,
        "width": 3,
        "height": 2,
        "original_width": 6,
        "original_height": 4,
    }
    fields = [field for field in SAMPLES if field.name in row]
    return pa.RecordBatch.from_pylist([row | changes], schema=pa.schema(fields))


def test_the_json_member_has_the_bytes_of_the_specification() -> None:
    (data,) = json_members(make_row())
    assert len(data) == 260
    digest = hashlib.sha256(data).hexdigest()
    assert digest == "f640611b88e426af1e41cedad92e41ecd261a3921f1af2e9f9f9027795a697cf"


def test_unknown_text_is_empty_in_the_json_member() -> None:
    value = json.loads(json_members(make_row())[0])
    assert (value["page_url"], value["license_url"]) == ("", "")


def test_quotes_and_control_characters_survive_the_json_member() -> None:
    caption = '"\\\u2028\t</script>'
    assert json.loads(json_members(make_row(caption=caption))[0])["caption"] == caption


def test_hash_records_may_be_left_out_of_the_columns() -> None:
    assert set(sample_schema().names) - set(sample_schema(dedup_columns=False).names) == set(
        DEDUP_COLUMNS
    )


def test_lists_are_described_alike_before_and_after_parquet() -> None:
    columns = [pa.field("x", pa.list_(pa.field(name, pa.int32()))) for name in ("item", "element")]
    assert describe(pa.schema([columns[0]])) == describe(pa.schema([columns[1]]))
