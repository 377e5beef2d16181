"""Arrow schemas of the rows between stages; each stage adds columns, none is renamed."""

import pyarrow as pa

TEXT = pa.struct([("source", pa.string()), ("text", pa.string()), ("raw", pa.string())])
TIME = pa.timestamp("us", tz="UTC")
ID = pa.binary(16)

CANDIDATES = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("texts", pa.list_(TEXT), nullable=False),
        pa.field("url_source", pa.string(), nullable=False),
        ("page_url", pa.string()),
        ("page_lang", pa.string()),
        ("charset", pa.string()),
        ("license_url", pa.string()),
        ("license_source", pa.string()),
        pa.field("position", pa.int32(), nullable=False),
        ("width_attr", pa.int32()),
        ("height_attr", pa.int32()),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
        pa.field("optout", pa.list_(pa.string()), nullable=False),
        ("page_tdm", pa.int8()),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        ("source_length", pa.int64()),
        ("record_id", pa.string()),
        ("record_date", TIME),
        ("expect_sha256", pa.binary(32)),
        ("expect_md5", pa.binary(16)),
    ]
)
"""One row per image element with a URL and at least one text."""

IMAGES = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        ("status", pa.int16()),
        ("content_type", pa.string()),
        ("content_encoding", pa.string()),
        ("payload_bytes", pa.int64()),
        ("payload_digest", pa.string()),
        ("record_id", pa.string()),
        ("record_date", TIME),
        ("location", pa.string()),
        ("refers_to_url", pa.string()),
        ("refers_to_date", TIME),
        ("truncated", pa.string()),
        pa.field("optout", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row per image, redirect or revisit record of an archive."""

DEADLETTERS = pa.schema(
    [
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""One row per record, or run of damaged bytes, that could not be read; no content."""

MATCHED = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        *[field for field in CANDIDATES if field.name != "texts"],
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_source", pa.string(), nullable=False),
        pa.field("lang", pa.string(), nullable=False),
        ("lang_score", pa.float32()),
        pa.field("matched_query_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("seen", pa.int64(), nullable=False),
    ]
)
"""One row per pair, sorted by pair id within a part."""

FETCHED = pa.schema(
    [
        *MATCHED,
        pa.field("image_source", pa.string(), nullable=False),
        pa.field("fetched_at", TIME),
        pa.field("attempts", pa.int8(), nullable=False),
        pa.field("redirects", pa.int8(), nullable=False),
        ("http_status", pa.int16()),
        ("final_url", pa.string()),
        ("ip", pa.string()),
        ("content_type", pa.string()),
        ("etag", pa.string()),
        ("last_modified", pa.string()),
        ("image_file", pa.string()),
        ("image_record", pa.int64()),
        pa.field("original_format", pa.string(), nullable=False),
        pa.field("original_bytes", pa.int64(), nullable=False),
        pa.field("original_sha256", pa.binary(32), nullable=False),
        pa.field("original_width", pa.int32(), nullable=False),
        pa.field("original_height", pa.int32(), nullable=False),
        pa.field("animated", pa.bool_(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("reencoded", pa.bool_(), nullable=False),
        pa.field("blob", pa.string(), nullable=False),
        pa.field("blob_offset", pa.int64(), nullable=False),
        pa.field("blob_bytes", pa.int32(), nullable=False),
        pa.field("image_flags", pa.list_(pa.string()), nullable=False),
        pa.field("dedup_hash", pa.binary(64), nullable=False),
        pa.field("dedup_chroma", pa.binary(32), nullable=False),
        pa.field("dedup_quality", pa.uint8(), nullable=False),
        pa.field("dedup_flags", pa.uint8(), nullable=False),
        ("dedup_trim", pa.binary(97)),
        ("dedup_pixels", pa.binary(16)),
        ("phash", pa.string()),
        pa.field("hash_version", pa.string(), nullable=False),
    ]
)
"""One row per pair whose image is in a blob; `blob` is a path relative to ROOT."""

ALTERNATE = pa.struct(
    [
        ("text", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("page_url", pa.string()),
    ]
)
DEDUPED = pa.schema(
    [
        *FETCHED,
        pa.field("duplicates", pa.int32(), nullable=False),
        pa.field("alternates", pa.list_(ALTERNATE), nullable=False),
        ("cluster_id", ID),
        pa.field("eval_hits", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row per kept pair, with what its duplicates left to it."""

SELECTION = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        pa.field("selected_by", pa.list_(pa.int32()), nullable=False),
        ("select_prob", pa.float64()),
    ]
)
"""The final selection: one row per kept row of a part of `DEDUPED`, in its order."""
SELECTED = pa.schema([*DEDUPED, *[field for field in SELECTION if field.name != "pair_id"]])
"""The kept rows themselves, with why they were kept."""

DROPS = pa.schema(
    [
        ("pair_id", ID),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("value", pa.string()),
        pa.field("count", pa.int64(), nullable=False),
        ("url", pa.string()),
        ("caption", pa.string()),
    ]
)
"""The ledger: one row per dropped pair; one without pair id stands for `count` drops without."""

QUERY_COUNTS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("matched", pa.int64(), nullable=False),
        pa.field("survived", pa.int64(), nullable=False),
        pa.field("selected", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
        pa.field("theta", pa.uint64(), nullable=False),
    ]
)
"""One row per query that matched a pair, ascending; what `queries.parquet` says of it."""
