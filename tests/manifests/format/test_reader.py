import io
import json
import pathlib
import tarfile
import warnings
from collections.abc import Callable

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from manifests.base.errors import OpenwitError
from manifests.format import Manifest, ShardReader

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def reader(make_dataset: MakeDataset) -> ShardReader:
    manifest = make_dataset(10, 10)
    return manifest.reader(manifest.shards[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(rows=st.lists(st.integers(0, 9)))
def test_members_come_in_the_order_asked_for(reader: ShardReader, rows: list[int]) -> None:
    captions = reader.table(["caption"])["caption"].to_pylist()
    texts = [data.decode() for data in reader.read(rows, "text")]
    assert texts == [captions[row] for row in rows]
    assert all(data.startswith(b"\xff\xd8") for data in reader.read(rows))


def test_columns_come_in_the_order_asked_for(reader: ShardReader) -> None:
    assert reader.table(["caption", "key"]).schema.names == ["caption", "key"]


def test_a_row_past_the_end_is_an_index_error(reader: ShardReader) -> None:
    with pytest.raises(IndexError):
        reader.read([10])


def test_a_missing_column_is_named(reader: ShardReader) -> None:
    with pytest.raises(OpenwitError, match="has no column colour"):
        reader.table(["colour"])


def test_a_short_tar_names_both_lengths(reader: ShardReader) -> None:
    path = pathlib.Path(reader.tar_path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(OpenwitError, match="88 bytes at offset 512, the Parquet file says"):
        reader.read([0])


def test_a_parquet_file_of_other_rows_is_refused(reader: ShardReader) -> None:
    path = pathlib.Path(reader.parquet_path)
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(OpenwitError, match="9 rows, the manifest says 10"):
        reader.table(["key"])


def test_a_file_that_is_not_parquet_is_named(reader: ShardReader) -> None:
    pathlib.Path(reader.parquet_path).write_bytes(b"hello")
    with pytest.raises(OpenwitError, match="cannot be read"):
        reader.table(["key"])


def test_checks_find_nothing_in_a_whole_shard(reader: ShardReader) -> None:
    assert [reader.check(level) for level in ("fast", "sha256", "deep")] == [[], [], []]


def test_tarfile_gives_what_the_rows_say(reader: ShardReader) -> None:
    rows = reader.table().to_pylist()
    with tarfile.open(reader.tar_path) as opened:
        for row in rows:
            members = {
                ext: opened.extractfile(f"{row['key']}.{ext}") for ext in ("jpg", "txt", "json")
            }
            content = {ext: member.read() for ext, member in members.items() if member}
            assert content["txt"].decode() == row["caption"]
            assert json.loads(content["json"])["uid"] == row["pair_id"]
            with Image.open(io.BytesIO(content["jpg"])) as image:
                assert image.size == (row["width"], row["height"])


def test_webdataset_reads_the_samples_in_order(reader: ShardReader) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # webdataset opens files that it does not close
        import webdataset

        dataset = webdataset.WebDataset(reader.tar_path, shardshuffle=False).decode("pil")
        samples = [(each["__key__"], each["txt"], each["json"]["uid"]) for each in dataset]
    table = reader.table(["key", "caption", "pair_id"])
    assert samples == list(zip(*(column.to_pylist() for column in table), strict=True))


def test_duckdb_reads_the_rows(reader: ShardReader) -> None:
    sql = "SELECT key, caption, len(query_ids), alternates[1].text FROM read_parquet(?)"
    found = duckdb.execute(sql, [reader.parquet_path]).fetchall()
    rows = reader.table(["key", "caption", "query_ids", "alternates"]).to_pylist()
    assert found == [
        (row["key"], row["caption"], len(row["query_ids"]), row["alternates"][0]["text"])
        for row in rows
    ]
