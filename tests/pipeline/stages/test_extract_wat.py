import dataclasses
import datetime
import html
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.verdict import DropReason
from manifests.base.errors import ConfigError
from tests.pipeline.readers.archives import NOW, make_record, make_response, zipped
from tests.pipeline.readers.wats import image, make_json, make_wat, wat_record
from tests.pipeline.stages.extract_cases import Extracted, extract


def extract_wat(engine: Any, *records: bytes, name: str = "a.wat.gz", **more: Any) -> Extracted:
    return extract(engine, zipped(*records), name=name, kind="wat", **more)


def test_a_row_says_what_was_found_and_where(plain_engine: Any) -> None:
    first = make_wat(url="http://site.example/0")
    second = make_wat(
        [image("a.jpg#b", " a  dog ", title="the title")],
        url="http://site.example/dir/p?q#f",
        headers={"content-language": "fr", "X-Robots-Tag": "noai", "tdm-reservation": ["1"]},
        head={"Base": "/base/", "Metas": [{"name": "ROBOTS", "content": "noimageai"}]},
        **{"WARC-Truncated": "length"},
    )
    found = extract_wat(plain_engine, first, second, text_sources=("alt", "title"))
    [row] = found.rows()
    assert row == {
        "url": "http://site.example/base/a.jpg",
        "texts": [
            {"source": "alt", "text": "a dog", "raw": " a  dog "},
            {"source": "title", "text": "the title", "raw": None},
        ],
        "url_source": "src",
        "page_url": "http://site.example/dir/p?q",
        "page_lang": "fr",
        "charset": None,
        "license_url": None,
        "license_source": None,
        "position": 0,
        "width_attr": None,
        "height_attr": None,
        "flags": ["warc_truncated"],
        "optout": ["robots:noimageai", "tdm:1", "x-robots-tag:noai"],
        "page_tdm": 1,
        "source_file": "a.wat.gz",
        "source_offset": len(zipped(first)),
        "source_length": len(zipped(second)),
        "record_id": "urn:uuid:00000000-0000-0000-0000-0000000000aa",
        "record_date": datetime.datetime.fromisoformat(NOW),
        "expect_sha256": None,
        "expect_md5": None,
    }
    assert found.records == {"read": 2, "pages": 2}
    assert found.unit.notes["marks"] == {
        "robots:noimageai": 1,
        "tdm:1": 1,
        "x-robots-tag:noai": 1,
    }
    assert found.record.paths("images") == []


def test_the_page_s_own_language_beats_the_header_s(plain_engine: Any) -> None:
    head = {"Metas": [{"name": "HTML@/lang", "content": "es-MX"}]}
    page = make_wat([image("a.jpg", "x")], headers={"Content-Language": "fr"}, head=head)
    [row] = extract_wat(plain_engine, page).rows()
    assert row["page_lang"] == "es-MX"


def test_metas_name_images_when_their_texts_are_asked_for(plain_engine: Any) -> None:
    metas = [
        {"property": "og:image", "content": "/o.jpg"},
        {"property": "og:image:alt", "content": "an owl"},
    ]
    page = make_wat(head={"Metas": metas})
    found = extract_wat(plain_engine, page, text_sources=("alt", "og:image:alt"))
    assert found.pairs() == [("http://site.example/o.jpg", "an owl")]


def test_every_record_ends_as_one_thing_and_damage_is_a_dead_letter(plain_engine: Any) -> None:
    records = [
        make_record(b"software: x\r\n", kind="warcinfo"),
        make_wat(kind="request"),
        make_wat([image("a.jpg", "one")]),
        make_wat(status="404"),
        make_wat(html=False),
        make_wat(url="dns:site.example"),
        wat_record(b"{"),
        make_wat([image("b.jpg", "two")]),
    ]
    found = extract_wat(plain_engine, *records)
    assert found.records == {
        "read": 8,
        "pages": 2,
        "warcinfo": 1,
        "request": 1,
        "status": 1,
        "not_html": 1,
        "page_url": 1,
        "wat_json": 1,
    }
    lost = len(zipped(*records[:6]))
    assert found.deadletters() == [("wat_json", lost, len(zipped(records[6])))]
    assert [text for _, text in found.pairs()] == ["one", "two"]


def test_one_flipped_byte_costs_one_record(plain_engine: Any) -> None:
    parts = [zipped(make_wat([image(f"{n}.jpg", f"photo {n}")])) for n in range(5)]
    parts[2] = parts[2][:100] + b"\xff\xff" + parts[2][102:]
    found = extract(plain_engine, b"".join(parts), kind="wat")
    assert [text for _, text in found.pairs()] == ["photo 0", "photo 1", "photo 3", "photo 4"]
    assert found.records == {"read": 5, "pages": 4, "gzip_corrupt": 1}


def test_references_follow_the_crawl_or_the_setting(plain_engine: Any) -> None:
    page = make_wat([image("a.jpg?b&amp;c", "R&amp;amp;D")])
    decoded = ("http://site.example/dir/a.jpg?b&c", "R&amp;D")
    kept = ("http://site.example/dir/a.jpg?b&amp;c", "R&amp;amp;D")
    for name, expected, flags in (
        ("CC-MAIN-2018-05/a.wat.gz", decoded, []),
        ("CC-MAIN-2019-30/a.wat.gz", kept, ["wat_entities_unknown"]),
        ("CC-MAIN-2024-10/a.wat.gz", kept, []),
    ):
        note = make_record(f"isPartOf: {name[:15]}\r\n".encode(), kind="warcinfo")
        found = extract_wat(plain_engine, note, page)
        assert found.pairs() == [expected]
        assert found.rows()[0]["flags"] == flags
    assert extract_wat(plain_engine, page, wat_entities="decode").pairs() == [decoded]


def test_images_beyond_the_limit_are_counted(plain_engine: Any) -> None:
    links = [image(f"{n}.jpg", f"photo {n}") for n in range(7)]
    found = extract_wat(plain_engine, make_wat(links), max_images_per_page=5)
    assert len(found.rows()) == 5
    assert found.unit.drops == {DropReason.TOO_MANY_IMAGES: 2}
    assert found.unit.rows_in == 7


def test_an_index_of_images_that_are_not_there_is_refused(plain_engine: Any) -> None:
    assert extract_wat(plain_engine, archive_wanted=True).record.paths("images") == []
    with pytest.raises(ConfigError, match=r'image_index: true with input\.kind = "wat"'):
        extract_wat(plain_engine, image_index=True)


@dataclasses.dataclass(frozen=True)
class Img:
    """An image of a page that is written both as HTML and as the links of a WAT record."""

    src: str
    alt: str | None
    title: str | None

    @property
    def html(self) -> str:
        values = {"alt": self.alt, "title": self.title, "src": self.src}
        written = [
            f'{name}="{html.escape(value)}"' for name, value in values.items() if value is not None
        ]
        return f"<p><img {' '.join(written)}></p>"

    @property
    def link(self) -> dict[str, Any]:
        more = {} if self.title is None else {"title": self.title}
        return image(self.src, self.alt, **more)


# What HTML itself changes (NUL, CR) or no document holds (surrogates) is not in the texts.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")
TEXTS = st.none() | st.text(CHARACTERS, max_size=12) | st.sampled_from(["a dog", "&amp;", "x.jpg"])
SOURCES = st.sampled_from(
    [
        *("a.jpg", "/b.png?x=1&y=2", "//other.example/c", "../d e.gif", "http://h.example:99999/"),
        *("data:image/gif;base64,R0lG", "", "#", "spacer.gif", "lazy-dog.jpg", "?q", "ü.jpg"),
        *("https://u:p@h.example/", "{{ x }}", "http://h.example/pixel/1", "x" * 3000),
    ]
) | st.text(CHARACTERS, max_size=8)
IMAGES = st.lists(st.builds(Img, SOURCES, TEXTS, TEXTS), max_size=6)
BASES = st.sampled_from([None, "/base/", "http://base.example/x", "data:,", "http://h:99999/"])


def as_warc(images: Iterable[Img], base: str | None, url: str) -> bytes:
    head = "" if base is None else f'<base href="{html.escape(base)}">'
    body = f"<!doctype html><head>{head}<body>{''.join(each.html for each in images)}"
    return make_record(make_response(body.encode()), uri=url)


def as_wat(images: Iterable[Img], base: str | None, url: str) -> bytes:
    head = {"Title": "x"} if base is None else {"Base": base}
    table = make_json([each.link for each in images], head=head, url=url)
    return wat_record(json.dumps(table).encode())


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pages=st.lists(st.tuples(IMAGES, BASES), min_size=1, max_size=3),
    sources=st.sampled_from([("alt",), ("alt", "title")]),
    rule=st.sampled_from(["src", "best", "largest"]),
)
def test_wat_files_give_what_their_pages_give_by_src(
    pages: list[tuple[list[Img], str | None]],
    sources: tuple[str, ...],
    rule: str,
    plain_engine: Any,
) -> None:
    urls = [f"http://site.example/dir/{number}" for number in range(len(pages))]
    warc, wat = (
        extract(
            plain_engine,
            zipped(*(make(*page, url) for page, url in zip(pages, urls, strict=True))),
            kind=kind,
            text_sources=sources,
            url_rule=url_rule,
        )
        for kind, make, url_rule in (("warc", as_warc, "src"), ("wat", as_wat, rule))
    )
    assert wat.unit.rows_in == sum(len(images) for images, _ in pages)
    same = ("url", "texts", "url_source", "page_url", "position", "flags")
    assert [[row[name] for name in same] for row in wat.rows()] == [
        [row[name] for name in same] for row in warc.rows()
    ]
    assert wat.unit.drops == warc.unit.drops
