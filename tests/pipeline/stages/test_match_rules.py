"""Stage match: block lists, words, languages, texts of too many pairs, ids of others."""

import pathlib
from typing import Any

import pytest

from manifests.base.errors import RefusedError
from manifests.format.ids import pair_id
from pipeline.selection.blocks import (
    BlockListSettings,
    RunBlockList,
    find_block_lists,
    prepare_block_lists,
)
from pipeline.stages.match import MatchSettings, TextSettings
from tests.pipeline.selection.rows import (
    Chain,
    make_candidate,
    read_drops,
    read_rows,
    write_list,
)

URL = "http://example.com/{}.jpg"


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    return Chain(plain_engine, write_list(tmp_path, "dog", "photo", "Hund"))


def block(folder: pathlib.Path, kind: str, text: str, at: str | None = None) -> RunBlockList:
    path = folder / f"{kind}.txt"
    path.write_text(text)
    settings = BlockListSettings(id=f"my-{kind}", kind=kind, file=str(path), at=at)  # type: ignore[arg-type]
    [made] = prepare_block_lists([settings], str(folder / "root"))
    return made


def test_block_lists_are_asked_first_and_in_order(chain: Chain, tmp_path: pathlib.Path) -> None:
    rows = [
        make_candidate(1, "a dog"),
        make_candidate(2, "a dog", url="http://img.bad.org/2.jpg"),
        make_candidate(3, "x", page_url="http://bad.org/page"),
        make_candidate(4, "a dog"),
        make_candidate(5, "a dog", url="http://bad.org/5.jpg", page_url="http://bad.org/"),
        make_candidate(6, "a dog", page_url=None),
    ]
    lists = [
        block(tmp_path, "pair", pair_id(URL.format(4), "a dog").hex()),
        block(tmp_path, "domain", "bad.org"),
        block(tmp_path, "url", URL.format(1) + "#top"),
    ]
    record = chain.match(rows, blocked=lists)
    found = chain.engine.records[0]
    assert [row["url"] for row in read_rows(record)] == [URL.format(6)]
    assert dict(read_drops(found).values()) == {
        "blocked_url": "my-url",
        "blocked_domain": "my-domain",
        "blocked_page_domain": "my-domain",
        "blocked_pair": "my-pair",
    }
    assert found.drops["blocked_domain"] == 2
    assert chain.match(rows).spec != record.spec


def test_a_takedown_at_balance_redoes_nothing_before(chain: Chain, tmp_path: pathlib.Path) -> None:
    matched = chain.match([make_candidate(n, "a dog") for n in range(5)])
    preselected = chain.preselect(matched)
    lost = pair_id(URL.format(3), "a dog")
    lists = (
        block(tmp_path, "pair", lost.hex(), at="balance"),
        block(tmp_path, "sha256", "00" * 32 + "\n# none\n", at="balance"),
    )
    assert chain.match([make_candidate(1, "a dog")], blocked=lists).rows_out == 1
    balanced = chain.balance(preselected, blocked=lists[:1])
    taken = next(each for each in chain.engine.records if each.step == "balance-blocked")
    assert read_drops(taken) == {lost: ("blocked_pair", "my-pair")}
    selected = {row["pair_id"] for row in chain.selected(balanced)}
    assert selected == {row["pair_id"] for row in read_rows(matched)} - {lost}
    [counts] = read_rows(balanced.queries)
    assert (counts["matched"], counts["survived"], counts["kept"]) == (5, 4, 4)
    everything = chain.balance(preselected, blocked=lists[1:])
    assert everything.pairs.rows_out == 0  # the made-up rows have bytes of zeros
    assert chain.engine.records[-5].drops == {"blocked_sha256": 5}


def test_lists_that_are_none_are_refused_before_any_work(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# urls\nhttp://a.example/\nnonsense\n")
    settings = BlockListSettings(id="a", kind="url", file=str(path))
    with pytest.raises(RefusedError, match=r"blocklist a: .*list.txt: line 3: b'nonsense' must be"):
        prepare_block_lists([settings], str(tmp_path))
    with pytest.raises(RefusedError, match="two lists have one id"):
        find_block_lists([settings, settings], str(tmp_path))
    with pytest.raises(RefusedError, match="no such file"):
        find_block_lists([BlockListSettings(id="a", kind="url", file="absent")], str(tmp_path))
    assert not list(tmp_path.rglob("*.bin"))


def test_blocked_words_are_found_in_any_case(chain: Chain, tmp_path: pathlib.Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("bad dog\n\nSPAM\n")
    texts = ["a Bad  DOG", "spammy dog", "dog, spam!", "bad, dog"]
    record = chain.match([make_candidate(1, *texts)], text=TextSettings(words_file=str(words)))
    assert {row["text"] for row in read_rows(record)} == {"spammy dog", "bad, dog"}
    assert set(read_drops(chain.engine.records[0]).values()) == {("blocked_word", "words.txt")}


TEXTS = ["A small dog sits on the green grass", "Ein kleiner Hund sitzt auf der gr\u00fcnen Wiese"]


def test_other_languages_are_dropped_with_what_they_are(chain: Chain) -> None:
    record = chain.match([make_candidate(1, *TEXTS)], text=TextSettings(profile="datacomp-basic"))
    [row] = read_rows(record)
    assert (row["text"], row["lang"]) == (TEXTS[0], "en")
    assert row["lang_score"] > 0.5
    assert list(read_drops(chain.engine.records[0]).values()) == [("language", "de")]


def test_languages_are_told_of_what_matched_if_asked_for(chain: Chain) -> None:
    record = chain.match([make_candidate(1, *TEXTS)], text=TextSettings(detect_language=True))
    assert {row["lang"] for row in read_rows(record)} == {"en", "de"}


def test_by_language_the_list_of_no_language_stands_in(chain: Chain) -> None:
    record = chain.match([make_candidate(1, *TEXTS)], how=MatchSettings(languages="by-lang"))
    assert {row["lang"]: row["matched_query_ids"] for row in read_rows(record)} == {
        "en": [1],
        "de": [0],
    }


@pytest.mark.parametrize("bucket_bytes", [1 << 26, 1 << 12])
def test_texts_of_too_many_pairs_are_dropped_after_merging(chain: Chain, bucket_bytes: int) -> None:
    chain.engine.bucket_bytes = bucket_bytes
    rows = [make_candidate(n, "a dog") for n in range(4)]
    rows += [make_candidate(n % 3, "a photo", source_offset=n) for n in range(9)]
    record = chain.match(rows[:5], rows[5:], text=TextSettings(max_frequency=3))
    assert {row["text"] for row in read_rows(record)} == {"a photo"}
    assert record.drops == {"text_too_frequent": 4}
    assert set(read_drops(record).values()) == {("text_too_frequent", "4")}
    assert sum(row["pairs"] for row in read_rows(record, "counts")) == 3
    assert {step.step: step.drops for step in chain.engine.records}["match-merge"] == {
        "duplicate_pair": 6
    }


def test_ids_of_other_collections_stand_beside_the_pairs(chain: Chain) -> None:
    how = MatchSettings(foreign_ids=("cc2dataset", "crawlingathome", "metaclip"))
    row = make_candidate(1, "a photo of a dog", url="http://example.com/a.jpg")
    record = chain.match([row], how=how)
    assert read_rows(record, "foreign") == [
        {
            "pair_id": bytes.fromhex("5836a3eecff53951d31311f58fb160f1"),
            "cc2dataset": "38843d1f8d815e2b264ad8d24bea7684",
            "crawlingathome": "acc36af2331ac9f524665d177c12e54b",
            "metaclip": "c6ddbb1e0af2f6ed67d2641d",
        }
    ]
    assert chain.match([row]).paths("foreign") == []


@pytest.mark.parametrize("settings", [{"max_frequency": 0}, {"list_entity_passes": -1}])
def test_numbers_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must be at least"):
        TextSettings(**settings)


def test_coyo_limits_equal_texts_and_languages() -> None:
    coyo = TextSettings(profile="coyo")
    assert (coyo.only_languages, coyo.most_pairs) == (("en",), 10)
    assert TextSettings(profile="coyo", languages=()).only_languages == ()
