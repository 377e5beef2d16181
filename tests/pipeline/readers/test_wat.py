import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers.framing import Record
from pipeline.readers.reasons import Fault, Skip
from pipeline.readers.wat import Entities, WatLink, WatPage, WatReader, crawl_id
from tests.pipeline.readers.archives import make_record, read
from tests.pipeline.readers.wats import PAGE_ID, image, make_json, make_wat, wat_record

HEADERS = frozenset({"content-language", "x-robots-tag"})
NAMES = frozenset({"robots", "og:image"})


def read_wat(*records: bytes, name: str = "a.wat.gz", entities: Entities = "auto") -> list[Any]:
    reader = WatReader(name, entities, NAMES, HEADERS)
    return [reader.read(found) for found in read(b"".join(records)) if isinstance(found, Record)]


def page_of(record: bytes, **settings: Any) -> WatPage:
    [found] = read_wat(record, **settings)
    assert isinstance(found, WatPage)
    return found


def test_a_page_is_what_the_record_says_of_it() -> None:
    found = page_of(
        make_wat(
            [image("a.jpg", "one", title="two"), image("b.jpg")],
            headers={"Content-Language": "fr", "X-Robots-Tag": ["noai", "noindex"]},
            head={
                "Base": "/base/",
                "Metas": [
                    {"name": "Robots", "content": "noai"},
                    {"property": "og:image", "content": "/o.jpg"},
                    {"name": "HTML@/lang", "content": "en"},
                    {"http-equiv": "refresh", "content": "0"},
                    {"name": "description", "content": "x"},
                    {"name": "HTML@/lang", "content": "fr"},
                ],
            },
            **{"WARC-Truncated": "length"},
        )
    )
    assert found == WatPage(
        url="http://site.example/dir/page",
        record_id=PAGE_ID,
        date="2024-05-06T07:08:09Z",
        is_truncated=True,
        headers={"content-language": ["fr"], "x-robots-tag": ["noai", "noindex"]},
        base="/base/",
        language="en",
        metas=[("robots", "noai"), ("og:image", "/o.jpg")],
        images=[
            WatLink("IMG@/src", "a.jpg", "one", "two"),
            WatLink("IMG@/src", "b.jpg"),
        ],
    )


def test_names_of_headers_that_differ_in_case_are_one() -> None:
    found = page_of(make_wat(headers={"x-robots-tag": "a", "X-Robots-Tag": ["b", "c"]}))
    assert found.headers == {"x-robots-tag": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (make_wat(kind="request"), Skip.REQUEST),
        (make_wat(kind="warcinfo"), Skip.WARCINFO),
        (make_wat(kind="metadata"), Skip.METADATA),
        (make_wat(kind="revisit"), Skip.REVISIT),
        (make_wat(kind="other"), Skip.TYPE_OTHER),
        (make_wat(status="404"), Skip.STATUS),
        (make_wat(status=404), Skip.STATUS),
        (make_wat(html=False), Skip.NOT_HTML),
        (make_record(b"software: x\r\n", kind="warcinfo"), Skip.WARCINFO),
        (make_record(b"", kind="response"), Skip.TYPE_OTHER),
        (wat_record(b'{"Envelope": {}}'), Skip.TYPE_OTHER),
        (wat_record(b""), Fault.WAT_JSON),
        (wat_record(b"[]"), Fault.WAT_JSON),
        (wat_record(b'{"Container": {}}'), Fault.WAT_JSON),
        (wat_record(b'{"Envelope": '), Fault.WAT_JSON),
        (wat_record(b"\xff\xfe"), Fault.WAT_JSON),
        (wat_record(b'{"Envelope": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), Fault.WAT_JSON),
        (wat_record(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), Fault.WAT_JSON),
        (wat_record(b'{"Envelope": {"x": ' + b"9" * 10_000 + b"}}"), Skip.TYPE_OTHER),
    ],
)
def test_every_other_record_ends_by_its_reason(record: bytes, outcome: object) -> None:
    assert read_wat(record) == [outcome]


def test_a_status_may_be_a_number() -> None:
    assert page_of(make_wat(status=200)).url == "http://site.example/dir/page"


@pytest.mark.parametrize(
    "link",
    [
        {"path": "IMG@/src", "url": None, "alt": "x"},
        {"path": "IMG@/src", "url": 7, "alt": "x"},
        {"path": "IMG@/src", "url": "x.jpg", "alt": None},
        {"path": "IMG@/src", "url": "x.jpg", "alt": ["x"], "title": "x"},
        {"path": "IMG@/src", "url": {"x": 1}, "title": "x"},
    ],
)
def test_a_link_with_a_value_that_is_no_text_is_empty_and_the_others_stay(link: Any) -> None:
    found = page_of(make_wat([image("a.jpg", "one"), link, image("b.jpg", "two")]))
    assert [(each.url, each.alt, each.title) for each in found.images] == [
        *(("a.jpg", "one", ""), ("", "", ""), ("b.jpg", "two", ""))
    ]


@pytest.mark.parametrize(
    "damage",
    [
        {"links": [None, 3, "x", []]},
        {"links": [{"path": None, "url": 3}, {"path": 3}, {}]},
        {"links": [{"path": "A@/href", "url": None}]},
        {"links": ["IMG@/src", {"url": "{", "text": '"IMG@/src"}'}]},
        {"links": [{"a{": "x}", "path": "A@/href", "url": "}{"}]},
        {"head": {"Metas": [None, {"name": 5}, {"name": None, "content": "x"}]}},
        {"head": {"Metas": {"name": "x"}, "Base": None}},
        {"head": []},
        {"headers": {"X": None, "Y": [1, "a"], "Z": {"a": 1}}},
        {"headers": []},
    ],
)
def test_damage_elsewhere_costs_no_image(damage: dict[str, Any]) -> None:
    links = [image("a.jpg", "one"), *damage.pop("links", [])]
    found = page_of(make_wat(links, **damage))
    assert [(each.url, each.alt) for each in found.images] == [("a.jpg", "one")]


def test_lone_surrogates_and_bytes_that_are_no_utf8_become_u_fffd() -> None:
    value = json.dumps(make_json([image("a.jpg", "S1"), image("b.jpg", "S2"), image("c.jpg", "x")]))
    block = value.encode().replace(b"S1", rb"a \ud800 b \ud83d\ude00").replace(b"S2", b"\xff")
    found = page_of(wat_record(block))
    assert [each.alt for each in found.images] == ["a \ufffd b \U0001f600", "\ufffd", "x"]


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_the_last_of_equal_keys_counts(separators: tuple[str, str]) -> None:
    links = '"Links": [{"path": "IMG@/src", "url": "%s"}]'.replace(": ", separators[1])
    block = json.dumps(make_json(), separators=separators)
    key = f'"Links"{separators[1]}['
    block = block.replace(key, f'{links % "a"},{links % "b"},"X":[')
    assert [each.url for each in page_of(wat_record(block.encode())).images] == ["b"]


@pytest.mark.parametrize("behind", ['"X":[{"y":1}]', '"Head":{"Metas":[{"name":"robots"}]}'])
@pytest.mark.parametrize("gap", ["", " ", "\n"])
def test_what_follows_the_links_is_read_however_they_end(behind: str, gap: str) -> None:
    block = json.dumps(make_json([image("a.jpg", "}]")]), separators=(",", ":"))
    block = block.replace('"href":"/x"}]', f'"href":"/x"}}{gap}],{behind}')
    found = page_of(wat_record(block.encode()))
    assert [each.alt for each in found.images] == ["}]"]
    assert len(found.metas) == behind.count("robots")


def _indented(table: Any) -> str:
    return json.dumps(table, indent=1)


@given(st.lists(st.tuples(*(st.text('{}",:[]\\ aIMG@/src', max_size=6),) * 3), max_size=5))
def test_braces_in_texts_and_escaped_slashes_change_nothing(
    texts: list[tuple[str, str, str]],
) -> None:
    links = [image(url, alt, **{key or "title": "t", "title": "x"}) for url, alt, key in texts]
    table = make_json(links)
    layouts = (None, (",", ":"), (" , ", " : "))
    written = [*(json.dumps(table, separators=each) for each in layouts), _indented(table)]
    for each in (*written, *(text.replace("/", r"\/") for text in written)):
        found = page_of(wat_record(each.encode())).images
        assert [(link.url, link.alt, link.title) for link in found] == [
            (link["url"], link["alt"], link["title"]) for link in links
        ]


@pytest.mark.parametrize("crawl", ["CC-MAIN-2013-20", "CC-MAIN-2018-05", "CC-MAIN-2019-22"])
def test_references_of_old_crawls_are_decoded_once(crawl: str) -> None:
    record = make_wat(
        [
            image(
                "a.jpg?x=1&amp;y=&amp;amp;&copy=1", "&quot;A&quot; &amp;amp; &#0; &copy=1 &hellip;"
            )
        ],
        head={"Base": "/a&amp;b/"},
    )
    found = page_of(record, name=f"crawl-data/{crawl}/wat/CC-MAIN-20180116070444-00000.warc.wat.gz")
    assert found.base == "/a&b/"
    text = '"A" &amp; \ufffd &copy=1 \u2026'
    assert found.images == [WatLink("IMG@/src", "a.jpg?x=1&y=&amp;&copy=1", text)]


@pytest.mark.parametrize(
    ("name", "entities", "decodes", "is_unsure"),
    [
        ("CC-MAIN-2019-22/a", "auto", True, False),
        ("CC-MAIN-2012/a", "auto", True, False),
        ("CC-MAIN-2009-2010/a", "auto", True, False),
        ("CC-MAIN-2019-26/a", "auto", False, True),
        ("CC-MAIN-2019-35/a", "auto", False, True),
        ("CC-MAIN-2019-39/a", "auto", False, False),
        ("CC-MAIN-2024-10/a", "auto", False, False),
        ("a", "auto", False, False),
        ("CC-MAIN-2024-10/a", "decode", True, False),
        ("CC-MAIN-2018-05/a", "keep", False, False),
        ("CC-MAIN-2019-35/a", "keep", False, False),
    ],
)
def test_references_are_decoded_as_crawl_or_setting_say(
    name: str, entities: Entities, decodes: bool, is_unsure: bool
) -> None:
    reader = WatReader(name, entities, NAMES, HEADERS)
    assert (reader.decodes, reader.is_unsure) == (decodes, is_unsure)


@pytest.mark.parametrize(
    "note",
    [
        make_record(b"software: x\r\nisPartOf: CC-MAIN-2018-05\r\n", kind="warcinfo"),
        wat_record(
            b'{"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "warcinfo"}, "Payload-Metadata": '
            b'{"WARC-Info-Metadata": {"isPartOf": "CC-MAIN-2018-05"}}}}'
        ),
    ],
)
def test_what_a_file_says_of_its_crawl_beats_its_name(note: bytes) -> None:
    record = make_wat([image("a.jpg", "&amp;")])
    skipped, page = read_wat(note, record, name="CC-MAIN-2024-10/a")
    assert skipped is Skip.WARCINFO
    assert page.images[0].alt == "&"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crawl-data/CC-MAIN-2024-10/segments/1/wat/CC-MAIN-20240221-0.wat.gz", "CC-MAIN-2024-10"),
        ("CC-MAIN-20240221060000-20240221090000-00000.warc.wat.gz", ""),
        ("CC-MAIN-2012", "CC-MAIN-2012"),
        ("cc-main-2024-10", ""),
        ("", ""),
    ],
)
def test_crawl_id(text: str, expected: str) -> None:
    assert crawl_id(text) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Envelope", "Links", "Head", "path", "url", "alt", "Headers", "Metas"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON, JSON, JSON)
def test_any_json_ends_as_one_thing(links: Any, head: Any, headers: Any, value: Any) -> None:
    table = make_json(headers=headers, head=head)
    response = table["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    response["HTML-Metadata"]["Links"] = links
    for each in (table, {"Envelope": value}, value):
        [found] = read_wat(wat_record(json.dumps(each).encode()))
        assert isinstance(found, WatPage | Skip | Fault)
