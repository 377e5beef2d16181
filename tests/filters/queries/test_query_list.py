import io
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.queries.query_list import (
    METADATA_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    from_queries,
    list_digest,
    load,
    read,
)

DIGEST = "d54370b444d29006e500b23d82aa62e603afc5a689ab58dc974ee1983bc3bccf"


def test_the_digest_is_that_of_the_specification() -> None:
    assert list_digest(["en", "en"], ["dog", "photo of a"]) == DIGEST


@pytest.mark.parametrize("name", ["list.txt", "list.json", "list.parquet"])
def test_a_users_list_of_any_shape_is_sorted_and_numbered(
    tmp_path: pathlib.Path, name: str
) -> None:
    path = tmp_path / name
    entries = ["photo", " dog ", "\u00e9t\u00e9", "e\u0301te\u0301", "", "a\x00b", "Zoo", "photo"]
    if name.endswith("txt"):
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(entries).encode())
    elif name.endswith("json"):
        path.write_text(json.dumps(entries))
    else:
        pq.write_table(pa.table({"query": [*entries[1:], "photo"]}), path)
    loaded = load(path)
    assert loaded.queries == ["Zoo", "dog", "photo", "\u00e9t\u00e9"]
    assert loaded.langs == ["und"] * len(loaded) == ["und"] * 4
    assert loaded.table.schema.equals(SCHEMA)
    assert loaded.table["query_id"].to_pylist() == [0, 1, 2, 3]
    assert loaded.metadata == {"dropped": {"empty": 1, "control": 1, "duplicate": 2}}


def built(**metadata: object) -> io.BytesIO:
    table = from_queries(["dog", "photo of a"]).table
    table = table.set_column(2, SCHEMA.field("lang"), pa.array(["en", "en"]))
    header = {"schema_version": SCHEMA_VERSION, "list_digest": DIGEST, **metadata}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(header)}), file)
    file.seek(0)
    return file


def test_a_built_list_is_read_as_it_is() -> None:
    loaded = read(built(), "list.parquet")
    assert (loaded.queries, loaded.langs) == (["dog", "photo of a"], ["en", "en"])
    assert loaded.digest == loaded.metadata["list_digest"] == DIGEST


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"schema_version": 99}, "schema version 1, got 99"), ({"list_digest": "0"}, "list digest")],
)
def test_a_built_list_that_is_not_whole_is_refused(
    metadata: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(built(**metadata), "list.parquet")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"good\nb\xe9d\n", r"bad.txt line 2 must be UTF-8"),
        (b"\n \n", r"at least one query, got none; dropped: .'empty': 3"),
        (b"[1]", "JSON array of strings"),
        (b"[", "JSON array of strings"),
        (b"PAR1nonsense", "."),
    ],
)
def test_a_file_that_is_no_list_is_refused(
    tmp_path: pathlib.Path, data: bytes, message: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_parquet_file_without_queries_is_refused() -> None:
    for table, message in [
        (pa.table({"text": ["a"]}), "a column query"),
        (pa.table({"query": pa.array([], pa.string())}), "got 0"),
    ]:
        file = io.BytesIO()
        pq.write_table(table, file)
        file.seek(0)
        with pytest.raises(ValueError, match=message):
            read(file, "x.parquet")
