import gzip
import json
from typing import Any

import pytest

from filters.verdict import DropReason
from manifests.base.errors import ConfigError
from manifests.format.ids import pair_id
from pipeline.stages.extract_list import list_texts
from tests.pipeline.stages.extract_cases import Extracted, extract


def extract_list(engine: Any, *lines: dict[str, Any], **more: Any) -> Extracted:
    data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    return extract(engine, data, name="a.jsonl", kind="urls", **more)


def test_a_row_says_what_the_list_says(plain_engine: Any) -> None:
    row = {
        "url": "HTTP://Site.example:80/a b.svg#c",
        "text": " a  dog ",
        "page_url": "http://site.example/p#q",
        "WIDTH": 640,
        "HEIGHT": "480",
        "LICENSE": "http://license.example/",
        "sha256": "ab" * 32,
        "md5": "cd" * 16,
    }
    found = extract_list(plain_engine, {"url": "http://h/0", "text": "x"}, row)
    assert found.rows()[1] == {
        "url": "http://site.example/a%20b.svg",
        "texts": [{"source": "list", "text": "a dog", "raw": " a  dog "}],
        "url_source": "list",
        "page_url": "http://site.example/p",
        "page_lang": None,
        "charset": None,
        "license_url": "http://license.example/",
        "license_source": "list",
        "position": 1,
        "width_attr": 640,
        "height_attr": 480,
        "flags": ["svg"],
        "optout": [],
        "page_tdm": None,
        "source_file": "a.jsonl",
        "source_offset": 1,
        "source_length": None,
        "record_id": None,
        "record_date": None,
        "expect_sha256": b"\xab" * 32,
        "expect_md5": b"\xcd" * 16,
    }


def test_a_page_or_license_that_is_no_url_is_none(plain_engine: Any) -> None:
    line = {"url": "http://h/1", "text": "one", "page_url": "nowhere", "LICENSE": "?"}
    [row] = extract_list(plain_engine, line).rows()
    assert (row["page_url"], row["license_url"], row["license_source"]) == (None, None, None)


def test_a_row_is_one_element_and_ends_as_one_thing(plain_engine: Any) -> None:
    lines: list[dict[str, Any]] = [
        {"url": "http://h/1", "text": "one", "width": None, "height": None},
        {"url": "http://h/2", "text": "  "},
        {"url": "http://h/3", "text": "&#0;"},
        {"url": "/4", "text": "four"},
        {"url": "data:,", "text": "five"},
        {"url": None, "text": "six"},
        {"url": "http://h/7", "text": "seven", "width": 1},
        {"url": "http://h/8", "text": "eight", "width": 8, "height": 8},
        {"url": "http://bat.bing.com/9", "text": "nine"},
        {"url": 10, "text": "ten"},
    ]
    found = extract_list(plain_engine, *lines)
    assert found.pairs() == [("http://h/1", "one")]
    assert found.records == {"read": 10, "pages": 0, "rows": 9, "list_row": 1}
    assert found.unit.rows_in == 9
    assert found.unit.drops == {
        DropReason.NO_TEXT: 1,
        DropReason.BAD_ENCODING: 1,
        DropReason.URL_INVALID: 2,
        DropReason.URL_SCHEME: 1,
        DropReason.PIXEL_DECLARED: 1,
        DropReason.TINY_DECLARED: 1,
        DropReason.TRACKER: 1,
    }
    ledger = {row["pair_id"]: row["reason"] for row in found.rows("drops") if row["pair_id"]}
    assert ledger == {
        pair_id("http://h/7", "seven"): "pixel_declared",
        pair_id("http://h/8", "eight"): "tiny_declared",
        pair_id("http://bat.bing.com/9", "nine"): "tracker",
    }
    assert found.rows("deadletter") == [
        {
            "source_file": "a.jsonl",
            "offset": 9,
            "length": 0,
            "reason": "list_row",
            "detail": "line 10: url: a int, not a text",
        }
    ]


@pytest.mark.parametrize(
    ("passes", "text", "raw"),
    [(0, "R&amp;amp;D", None), (1, "R&amp;D", "R&amp;amp;D"), (2, "R&D", "R&amp;amp;D")],
)
def test_references_are_decoded_so_many_times(
    passes: int, text: str, raw: str | None, plain_engine: Any
) -> None:
    line = {"url": "http://h/1", "text": "R&amp;amp;D"}
    [row] = extract_list(plain_engine, line, list_entity_passes=passes).rows()
    assert row["texts"] == [{"source": "list", "text": text, "raw": raw}]


def test_coyo_s_text_is_stripped_and_decoded_by_pass() -> None:
    blanks = "\n" + " " * 12 + "\n" + " " * 16
    raw = f"{blanks}Load image into Gallery viewer, valentine&amp;#39;s day roses\n{' ' * 12}\n"
    stripped = "Load image into Gallery viewer, valentine&amp;#39;s day roses"
    assert list_texts(raw, 0).found[0].text == stripped
    assert list_texts(raw, 1).found[0].text == stripped.replace("&amp;", "&")
    assert list_texts(raw, 1).found[0].raw == raw


def test_columns_are_named_by_settings(plain_engine: Any) -> None:
    data = b"link,words,text\nhttp://h/1,one,two\n"
    found = extract(plain_engine, data, kind="urls", columns=("link", "words"))
    assert found.pairs() == [("http://h/1", "one")]
    with pytest.raises(ConfigError, match=r"set input\.url_column"):
        extract(plain_engine, data, kind="urls")


def test_a_list_that_ends_early_gives_its_beginning(plain_engine: Any) -> None:
    lines = b"".join(b"http://h/%d,text %d\n" % (n, n * n) for n in range(9000))
    data = gzip.compress(b"url,text\n" + lines)
    found = extract(plain_engine, data[: len(data) // 2], name="a.csv.gz", kind="urls")
    assert found.records["gzip_truncated"] == 1
    rows = found.records["rows"]
    assert 1000 < rows < 9000
    assert [row["position"] for row in found.rows()] == list(range(rows))
