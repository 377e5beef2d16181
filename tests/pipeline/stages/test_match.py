import collections
import dataclasses
import pathlib
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests.format.ids import pair_id
from pipeline.records import MATCHED
from pipeline.stages.match import MatchSettings, TextSettings
from tests.pipeline.selection.rows import (
    Chain,
    Row,
    make_candidate,
    read_drops,
    read_rows,
    write_list,
)


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    return Chain(plain_engine, write_list(tmp_path, "dog", "photo", "photo of a", "cat"))


def test_pairs_that_contain_a_query_go_on(chain: Chain) -> None:
    record = chain.match([make_candidate(1, "a photo of a dog", "cats"), make_candidate(2, "bird")])
    [row] = read_rows(record)
    url = "http://example.com/1.jpg"
    assert row["pair_id"] == pair_id(url, "a photo of a dog")
    assert (row["url"], row["text"], row["text_source"]) == (url, "a photo of a dog", "alt")
    assert row["matched_query_ids"] == [1, 2, 3]  # cat, dog, photo, photo of a
    assert (row["lang"], row["lang_score"], row["seen"]) == ("und", None, 1)
    found = chain.engine.records[0]
    assert (found.step, found.rows_in, found.drops) == ("match-find", 3, {"no_query_match": 2})
    drops = read_drops(found)
    assert drops[pair_id("http://example.com/2.jpg", "bird")] == ("no_query_match", None)


def test_rules_are_asked_in_order_and_say_what_they_saw(chain: Chain) -> None:
    texts = ["", "dog", "bird", "dog photo", "a dog photo", "x" * 21, "1 2 3 4 dog"]
    chain.match(
        [make_candidate(1, *texts)],
        text=TextSettings(min_chars=4, max_chars=20, min_words=2, max_words=4),
    )
    url = "http://example.com/1.jpg"
    assert read_drops(chain.engine.records[0]) == {
        pair_id(url, ""): ("text_empty", "0"),
        pair_id(url, "dog"): ("text_too_short", "3"),
        pair_id(url, "bird"): ("too_few_words", "1"),
        pair_id(url, "x" * 21): ("text_too_long", "21"),
        pair_id(url, "1 2 3 4 dog"): ("too_many_words", "5"),
    }


def test_equal_pairs_become_one_and_are_counted(chain: Chain) -> None:
    usual: Row = {"page_url": "http://b/", "source_file": "b"}
    units = [
        [
            make_candidate(1, "a dog", **usual, flags=["x"]),
            make_candidate(1, "a dog", source_file="a", page_url="http://a/", page_tdm=1),
        ],
        [make_candidate(1, "a dog", **usual, optout=["noai"]), make_candidate(1, "a cat")],
    ]
    record = chain.match(*units)
    rows = {row["text"]: row for row in read_rows(record)}
    assert rows["a dog"]["seen"] == 3
    assert (rows["a dog"]["source_file"], rows["a dog"]["page_tdm"]) == ("a", 1)
    assert (rows["a dog"]["flags"], rows["a dog"]["optout"]) == (["x"], ["noai"])
    assert rows["a cat"]["seen"] == 1
    assert (record.rows_in, record.rows_out, record.drops) == (4, 2, {"duplicate_pair": 2})
    assert read_drops(record)[rows["a dog"]["pair_id"]] == ("duplicate_pair", "2")
    assert len(read_rows(record, "drops")) == 1


def test_a_copy_of_an_archive_changes_nothing_but_how_often_pairs_were_seen(chain: Chain) -> None:
    rows = [make_candidate(number, "a dog", "a cat") for number in range(5)]
    once = chain.match(rows)
    twice = chain.match(rows, [row | {"source_file": "copy/a.warc.gz"} for row in rows])
    assert read_rows(twice) == [row | {"seen": 2} for row in read_rows(once)]
    assert read_rows(twice, "counts") == read_rows(once, "counts")
    assert twice.drops == {"duplicate_pair": 10}


def test_counts_are_those_of_merged_pairs(chain: Chain) -> None:
    record = chain.match(
        [make_candidate(n % 7, "a dog photo") for n in range(20)],
        [make_candidate(n, "a cat") for n in range(3)],
    )
    counts: collections.Counter[int] = collections.Counter()
    for row in read_rows(record, "counts"):
        counts[row["query_id"]] += row["pairs"]
    assert counts == {0: 3, 1: 7, 2: 7}


def test_cutting_units_elsewhere_changes_no_byte(chain: Chain) -> None:
    rows = [make_candidate(n % 11, "a dog", source_offset=n, flags=[str(n)]) for n in range(30)]
    chain.engine.bucket_bytes = 8192
    contents = []
    for units in ([rows], [rows[:7], rows[7:]], [rows[::-1][:20], rows[::-1][20:]]):
        record = chain.match(*units)
        assert len(record.units) == 4
        contents.append([(file.role, file.sha256) for unit in record.units for file in unit.files])
    assert contents[0] == contents[1] == contents[2]


def test_parts_are_sorted_and_of_the_schema(chain: Chain) -> None:
    chain.engine.bucket_bytes = 8192
    record = chain.match([make_candidate(number, "a dog") for number in range(40)])
    tables = [pq.read_table(path) for path in record.paths("part")]
    assert len(tables) == 8
    assert all(table.schema.equals(MATCHED) for table in tables)
    ids = [row for table in tables for row in table["pair_id"].to_pylist()]
    assert ids == sorted(ids)
    assert len(ids) == 40


def test_nothing_in_nothing_out(chain: Chain) -> None:
    for record in (chain.match(), chain.match([]), chain.match([make_candidate(1, "bird")])):
        assert read_rows(record) == read_rows(record, "counts") == []


def test_metaclip_v1_looks_at_the_text_as_it_was_found(chain: Chain) -> None:
    texts = [
        {"source": "alt", "text": "a dog", "raw": "a\u00a0dog"},
        {"source": "title", "text": "the (dog)", "raw": None},
        {"source": "aria-label", "text": "photo of a bird", "raw": "photo of a\nbird"},
    ]
    record = chain.match([make_candidate(1, texts=texts)], how=MatchSettings(mode="metaclip-v1"))
    [row] = read_rows(record)
    assert (row["text"], row["matched_query_ids"]) == ("photo of a bird", [2, 3])


def test_laion_cuts_long_texts_and_counts_them(chain: Chain) -> None:
    texts = ["a dog " + "x" * 3000, "a dog " + "x" * 1993 + " tail"]
    record = chain.match([make_candidate(1, *texts)], text=TextSettings(profile="laion"))
    assert sorted(len(row["text"]) for row in read_rows(record)) == [1999, 2000]
    for row in read_rows(record):
        assert row["pair_id"] == pair_id(row["url"], row["text"])
    assert [unit.notes["text_truncated"] for unit in chain.engine.records[0].units] == [2]


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="max_chars must be at least min_chars"):
        TextSettings(profile="coyo", max_chars=3)
    with pytest.raises(ValueError, match="case must be 'sensitive'"):
        MatchSettings(mode="metaclip-v1", case="fold")


def test_what_changes_bytes_changes_the_directory(chain: Chain) -> None:
    specs = set()
    for text, how in [
        (TextSettings(), MatchSettings()),
        (TextSettings(min_words=2), MatchSettings()),
        (TextSettings(), MatchSettings(case="fold")),
    ]:
        specs.add(chain.match([], text=text, how=how).spec)
    other = dataclasses.replace(chain, list_path=write_list(pathlib.Path(chain.engine.root), "dog"))
    specs.add(other.match([]).spec)
    assert len(specs) == 4
