"""Columns of the tables of a dataset, and the JSON member of a sample."""

import json
from collections.abc import Sequence

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")
ALTERNATE = pa.struct(
    [
        ("text", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("page_url", pa.string()),
    ]
)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


DEDUP_COLUMNS = (
    "dedup_hash",
    "dedup_chroma",
    "dedup_quality",
    "dedup_flags",
    "dedup_trim",
    "dedup_pixels",
)
"""Hash records of the images; a dataset may go without them."""

OFFSET_COLUMNS = (
    "image_offset",
    "image_bytes",
    "text_offset",
    "text_bytes",
    "json_offset",
    "json_bytes",
)
"""Where the data of a sample's members is in the tar, in bytes; the writer fills them."""

SAMPLES = pa.schema(
    [
        _required("key", pa.string()),
        _required("pair_id", pa.string()),
        _required("url", pa.string()),
        ("page_url", pa.string()),
        _required("caption", pa.string()),
        _required("caption_source", pa.string()),
        _required("alternates", pa.list_(ALTERNATE)),
        ("lang", pa.string()),
        ("lang_score", pa.float32()),
        _required("seen", pa.int64()),
        _required("query_ids", pa.list_(pa.int32())),
        _required("selected_by", pa.list_(pa.int32())),
        ("select_prob", pa.float64()),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("original_width", pa.int32()),
        _required("original_height", pa.int32()),
        ("original_format", pa.string()),
        ("original_bytes", pa.int64()),
        ("original_sha256", pa.string()),
        _required("sha256", pa.string()),
        _required("reencoded", pa.bool_()),
        ("phash", pa.string()),
        _required("duplicates", pa.int32()),
        ("cluster_id", pa.string()),
        ("eval_hits", pa.list_(pa.string())),
        ("dedup_hash", pa.binary(64)),
        ("dedup_chroma", pa.binary(32)),
        ("dedup_quality", pa.uint8()),
        ("dedup_flags", pa.uint8()),
        ("dedup_trim", pa.binary(97)),
        ("dedup_pixels", pa.binary(16)),
        ("license_url", pa.string()),
        ("license_source", pa.string()),
        _required("image_source", pa.string()),
        ("fetched_at", TIME),
        ("page_input", pa.int32()),
        ("page_record", pa.int64()),
        ("image_input", pa.int32()),
        ("image_record", pa.int64()),
        _required("image_offset", pa.int64()),
        _required("image_bytes", pa.int32()),
        _required("text_offset", pa.int64()),
        _required("text_bytes", pa.int32()),
        ("json_offset", pa.int64()),
        ("json_bytes", pa.int32()),
    ]
)
"""One row per sample of a shard, in the order of its tar. px, bytes; hashes as hexadecimal text."""

DICTIONARY = ("caption_source", "lang", "original_format", "license_source", "image_source")
"""Columns of few values, which Parquet stores as a dictionary."""

QUERIES = pa.schema(
    [
        _required("query_id", pa.int32()),
        _required("query", pa.string()),
        ("lang", pa.string()),
        ("source", pa.string()),
        _required("matched", pa.int64()),
        _required("survived", pa.int64()),
        _required("selected", pa.int64()),
        _required("kept", pa.int64()),
        _required("theta", pa.uint64()),
    ]
)
"""One row per query, its id the row number; counts are pairs, `kept` those of this dataset."""

INPUTS = pa.schema(
    [
        _required("input", pa.int32()),
        _required("uri", pa.string()),
        _required("kind", pa.string()),
        _required("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("etag", pa.string()),
    ]
)
"""One row per input file, its number the row number."""

LEDGER = pa.schema(
    [
        ("pair_id", pa.string()),
        _required("stage", pa.string()),
        _required("reason", pa.string()),
        ("value", pa.string()),
        _required("count", pa.int64()),
        ("url", pa.string()),
        ("caption", pa.string()),
    ]
)
"""One row per dropped pair; a row without pair id stands for `count` drops that had none."""

TOMBSTONES = pa.schema(
    [
        ("pair_id", pa.string()),
        _required("selector", pa.string()),
        _required("selector_sha256", pa.string()),
        ("original_sha256", pa.string()),
        _required("reason", pa.string()),
        ("request", pa.string()),
        _required("date", pa.date32()),
    ]
)
"""One row per withdrawn pair, and one without pair id for each domain that was withdrawn whole.

Neither URL nor caption stays: `selector` is a kind, or `domain:<host>`."""

JSON_TEXTS = ("caption", "license_url", "page_url", "sha256", "url")
JSON_NUMBERS = ("height", "original_height", "original_width", "width")


def sample_schema(*, dedup_columns: bool = True) -> pa.Schema:
    """Return the columns of a dataset's samples, with or without the hash records."""
    left_out = () if dedup_columns else DEDUP_COLUMNS
    return pa.schema([field for field in SAMPLES if field.name not in left_out])


def describe(schema: pa.Schema) -> list[dict[str, object]]:
    """Return a schema as the manifest shows it: name, Arrow's type name, nullable."""
    return [
        {"name": field.name, "type": _type_name(field.type), "nullable": field.nullable}
        for field in schema
    ]


def _type_name(kind: pa.DataType) -> str:
    # Parquet calls the items of a list "element", Arrow "item": one name for both.
    return str(pa.list_(kind.value_type) if pa.types.is_list(kind) else kind)


def json_members(rows: pa.RecordBatch) -> list[bytes]:
    """Return the JSON member of each row: sorted keys, no blanks, unknown text is empty, not null.

    HF `datasets` types fields from the first samples, so no field changes its type.
    """
    names = sorted([*JSON_TEXTS, *JSON_NUMBERS, "uid"])
    columns = [_json_column(rows, name) for name in names]
    # One encoder for all: `json.dumps` with settings makes a new one at each call.
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return [
        encode(dict(zip(names, values, strict=True))).encode()
        for values in zip(*columns, strict=True)
    ]


def _json_column(rows: pa.RecordBatch, name: str) -> Sequence[object]:
    values: list[object] = rows.column("pair_id" if name == "uid" else name).to_pylist()
    return ["" if value is None else value for value in values]
