import bz2
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import pyarrow.parquet as pq
import pytest

from filters.queries.query_list import SCHEMA, load
from manifests.base.config import from_tables
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.queries import corpus
from pipeline.queries.build import BuildSummary, build_list
from pipeline.queries.settings import QueriesSettings

MakeDump = Callable[[Sequence[str]], str]
MakePage = Callable[..., str]


def _quiet(line: str) -> None:
    del line


@pytest.fixture
def dump(tmp_path: pathlib.Path, make_dump: MakeDump, make_page: MakePage) -> str:
    text = "The [[red car]] is a '''red car'''. A [[hound]] chases the red car, the hot dog waits."
    xml = make_dump(
        [
            make_page("Red car", text),
            make_page("Dog (animal)", text.replace("chases", "sees")),
            make_page("Hound", "", redirect="Dog (animal)"),
            make_page("Talk:Dog", "Talk", ns=1),
        ]
    )
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(xml.encode()))
    return str(path)


@pytest.fixture
def settings(dump: str, wordnet: str) -> QueriesSettings:
    return QueriesSettings(
        dump=dump, wordnet=wordnet, scale="off", unigram_min_count=2, bigram_min_count=2
    )


def _build(settings: QueriesSettings, tmp_path: pathlib.Path, **extra: int) -> BuildSummary:
    return build_list(settings, str(tmp_path / "list.parquet"), report=_quiet, **extra)


def test_a_list_holds_all_sources_in_order(
    tmp_path: pathlib.Path, settings: QueriesSettings
) -> None:
    summary = _build(settings, tmp_path, workers=1)
    loaded = load(summary.out)
    rows = {row["query"]: row for row in loaded.table.to_pylist()}
    assert loaded.table.schema.remove_metadata() == SCHEMA
    assert loaded.queries == sorted(loaded.queries, key=str.encode)
    assert rows["red car"] | {"query_id": 0} == {
        "query_id": 0,
        "query": "red car",
        "lang": "en",
        "source": "bigram",
        "sources": 4,
        "count": 6,
        "score": rows["red car"]["score"],
        "views": None,
    }
    assert rows["Dog"]["views"] == 2  # two pages link to the redirect
    assert rows["Red car"]["source"] == "title"
    assert rows["hot dog"]["sources"] == 4 | 1
    assert rows["st. bernard"]["source"] == "wordnet"


def test_the_metadata_say_what_was_done(tmp_path: pathlib.Path, settings: QueriesSettings) -> None:
    summary = _build(settings, tmp_path, workers=1)
    metadata = load(summary.out).metadata
    assert metadata == summary.metadata
    english = metadata["languages"]["en"]
    assert english["words"] == 34
    assert english["pages"] == {"kept": 2, "other_namespace": 1, "redirect": 1}
    assert english["title_rank"] == "inlinks"
    assert [each["path"] for each in metadata["inputs"]][:2] == ["dump.xml.bz2", "data.noun"]
    assert english["thresholds"]["unigram_min_count"] == {
        "requested": 2,
        "used": 2,
        "reason": "literal",
    }
    assert sum(metadata["rows"].values()) == len(load(summary.out))
    assert f"list_digest: {summary.list_digest}" in summary.lines()


@pytest.mark.parametrize("profile", ["clip", "metaclip"])
def test_memory_bounds_and_blocks_change_no_byte(
    tmp_path: pathlib.Path,
    settings: QueriesSettings,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
) -> None:
    def bytes_with(**changes: object) -> bytes:
        values = {**vars(settings), "profile": profile, **changes}
        return pathlib.Path(_build(QueriesSettings(**values), tmp_path, workers=1).out).read_bytes()

    expected = bytes_with()
    assert bytes_with() == expected
    assert bytes_with(max_types=3) == expected
    monkeypatch.setattr(corpus, "BLOCK_CHARS", 1)
    assert bytes_with() == expected


def test_processes_change_no_byte(
    tmp_path: pathlib.Path, settings: QueriesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pathlib.Path(_build(settings, tmp_path, workers=1).out).read_bytes()
    monkeypatch.setattr(corpus, "BLOCK_CHARS", 1)
    assert pathlib.Path(_build(settings, tmp_path, workers=2).out).read_bytes() == expected


def test_metaclip_adds_digits_and_cuts_names_at_the_dot(
    tmp_path: pathlib.Path, wordnet: str
) -> None:
    summary = _build(QueriesSettings(profile="metaclip", wordnet=wordnet), tmp_path)
    queries = load(summary.out).queries
    assert [query for query in queries if not query.isdigit()] == [
        "breathe",
        "galore",
        "hot dog",
        "st",
    ]
    assert len(queries) == 104


def test_plain_text_is_a_source(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a b a b a b c\n" * 3, encoding="utf-8")
    settings = QueriesSettings(text=str(text), scale="off", unigram_min_count=9, bigram_min_count=9)
    summary = _build(settings, tmp_path)
    assert load(summary.out).queries == ["a", "a b", "b"]
    assert summary.metadata["languages"]["en"]["words"] == 21


def test_a_list_is_cut_to_its_budget(tmp_path: pathlib.Path, settings: QueriesSettings) -> None:
    small = QueriesSettings(**{**vars(settings), "budget": 6})
    summary = _build(small, tmp_path)
    assert len(load(summary.out)) == 6
    assert summary.metadata["languages"]["en"]["drops"]["bigram"]["over_budget"] > 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"file": "a.parquet"}, "nothing is built"),
        ({}, "no input"),
        ({"dump": "/nowhere/dump.xml"}, "/nowhere/dump.xml: no such file"),
        ({"wordnet": "/nowhere"}, "/nowhere/data.noun: no such file"),
    ],
)
def test_wrong_inputs_are_refused_before_any_work(
    tmp_path: pathlib.Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(RefusedError, match=problem):
        _build(from_tables(QueriesSettings, changes), tmp_path)


def test_a_text_without_words_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").write_text("1 2 3\n", encoding="utf-8")
    with pytest.raises(RefusedError, match="no words"):
        _build(QueriesSettings(text=str(tmp_path / "text")), tmp_path)


def test_an_empty_list_is_refused_with_its_thresholds(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").write_text("once\n", encoding="utf-8")
    with pytest.raises(RefusedError, match=r"0 queries: en: N = 1, .*'unigram_min_count': 3"):
        _build(QueriesSettings(text=str(tmp_path / "text")), tmp_path)


def test_a_failed_build_leaves_the_old_list(
    tmp_path: pathlib.Path, settings: QueriesSettings
) -> None:
    out = pathlib.Path(_build(settings, tmp_path).out)
    before = out.read_bytes()
    dump = pathlib.Path(str(settings.dump))
    dump.write_bytes(dump.read_bytes()[:-5])
    with pytest.raises(OpenwitError, match="ends inside compressed data"):
        _build(settings, tmp_path)
    assert out.read_bytes() == before


@pytest.mark.peer
def test_a_real_dump_builds_a_list(
    tmp_path: pathlib.Path, real_dump: str, real_wordnet: str
) -> None:
    summary = _build(QueriesSettings(dump=real_dump, wordnet=real_wordnet), tmp_path)
    english = summary.metadata["languages"]["en"]
    assert english["pages"] == {"kept": 106, "other_namespace": 1, "redirect": 99}
    assert english["thresholds"]["unigram_min_count"]["used"] == 3
    rows = pq.read_table(summary.out).to_pylist()
    assert sum(bool(row["sources"] & 1) for row in rows) >= 86_571


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_dump_gives_the_same_list_in_any_encoding_and_container(
    tmp_path: pathlib.Path, real_dump: str
) -> None:
    whole = bz2.decompress(pathlib.Path(real_dump).read_bytes())
    (tmp_path / "utf16.xml").write_bytes(whole.decode().encode("utf-16"))
    streams, index = multistream(whole, pages_each=7)
    (tmp_path / "streams.bz2").write_bytes(streams)
    (tmp_path / "index.txt").write_text(index)
    tables = [
        load(_build(from_tables(QueriesSettings, given), tmp_path).out).table.remove_column(0)
        for given in (
            {"dump": real_dump},
            {"dump": str(tmp_path / "utf16.xml")},
            {"dump": str(tmp_path / "streams.bz2")},
            {"dump": str(tmp_path / "streams.bz2"), "index": str(tmp_path / "index.txt")},
        )
    ]
    assert all(table.equals(tables[0]) for table in tables)


def test_an_index_changes_no_row(
    tmp_path: pathlib.Path,
    dump: str,
    settings: QueriesSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _build(settings, tmp_path)
    rows = load(expected.out).table.remove_column(0)
    streams, index = multistream(bz2.decompress(pathlib.Path(dump).read_bytes()), pages_each=1)
    pathlib.Path(dump).write_bytes(streams)
    (tmp_path / "index").write_text(index)
    for range_bytes in (1, 1 << 20):
        monkeypatch.setattr("pipeline.queries.sources.multistream.RANGE_BYTES", range_bytes)
        found = _build(dataclasses.replace(settings, index=str(tmp_path / "index")), tmp_path)
        assert load(found.out).table.remove_column(0).equals(rows)
        assert found.metadata["languages"] == expected.metadata["languages"]


def test_counts_made_elsewhere_are_a_source(tmp_path: pathlib.Path) -> None:
    lines = ["a\t3", "b\t3", "c\t1", "a\tb\t3", "b\ta\t2", "b\tc\t1", "12\t5", "\t7"]
    path = tmp_path / "ngrams.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    rules = QueriesSettings(ngrams=str(path), scale="off", unigram_min_count=3, bigram_min_count=2)
    summary = _build(rules, tmp_path)
    rows = {row["query"]: row for row in load(summary.out).table.to_pylist()}
    assert set(rows) == {"a", "b", "a b", "b a"}
    assert (rows["a b"]["count"], rows["a b"]["score"]) == (3, 1.0)
    assert summary.metadata["languages"]["en"]["words"] == 7


def test_languages_share_one_file(tmp_path: pathlib.Path) -> None:
    for lang, text in (("en", "the dog\n" * 5), ("de", "der Hund und der dog\n" * 5)):
        (tmp_path / lang).write_text(text, encoding="utf-8")
    given = {
        "scale": "off",
        "unigram_min_count": 5,
        "bigram_min_count": 9,
        "text": str(tmp_path / "en"),
        "languages": {"de": {"text": str(tmp_path / "de")}},
    }
    summary = _build(from_tables(QueriesSettings, given), tmp_path)
    loaded = load(summary.out)
    assert list(zip(loaded.langs, loaded.queries, strict=True)) == [
        *(("de", query) for query in ("Hund", "der", "dog", "und")),
        *(("en", query) for query in ("dog", "the")),
    ]
    assert set(summary.metadata["languages"]) == {"de", "en"}


def test_metaclip_takes_shares_beyond_english(tmp_path: pathlib.Path) -> None:
    words = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(100)]
    text = "".join(" ".join(words[: n + 1]) + "\n" for n in range(100))
    (tmp_path / "de").write_text(text, encoding="utf-8")
    tables = {"profile": "metaclip", "languages": {"de": {"text": str(tmp_path / "de")}}}
    summary = _build(from_tables(QueriesSettings, tables), tmp_path)
    told = summary.metadata["languages"]["de"]
    assert told["rows"] == {"bigram": 4, "digits": 100, "unigram": 10}
    assert told["thresholds"]["unigram_max"]["reason"] == "a tenth of 100 types"
    assert told["thresholds"]["bigram_max"]["reason"] == "40 % of 10 unigrams"


def multistream(xml: bytes, *, pages_each: int) -> tuple[bytes, str]:
    """Return a dump as bzip2 streams of some pages each, and its index."""
    head, *pages = xml.split(b"<page>")
    pages, tail = [b"<page>" + page for page in pages], b"</mediawiki>"
    pages[-1] = pages[-1].replace(tail, b"")
    data, index = bz2.compress(head), []
    for start in range(0, len(pages), pages_each):
        index += [f"{len(data)}:{start}:Title: of a page"] * pages_each
        data += bz2.compress(b"".join(pages[start : start + pages_each]))
    return data + bz2.compress(tail), "\n".join(index)
