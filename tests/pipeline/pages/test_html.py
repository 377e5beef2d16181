import json
import pathlib
import time

import pytest
import selectolax.lexbor
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages.html import MAX_ATTRIBUTES, MAX_VALUE_CHARACTERS, parse_page
from pipeline.pages.page import Meta, Page, PageLimits
from pipeline.pages.texts import SOURCES

LIMITS = PageLimits(max_tags=200_000, max_images=10_000)
GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "html5lib-encoding.json"
NEEDS_SCRIPTS = "document.write('<meta charset=\"ISO-8859-' + '2\">')"
ENCODINGS = [
    case for case in json.loads(GOLDEN.read_text("utf-8"))["cases"] if NEEDS_SCRIPTS not in case[0]
]
LATE = b"<!--" + b"x" * 2000 + b"-->"


def _page(body: str | bytes, charset: str | None = None, limits: PageLimits = LIMITS) -> Page:
    data = body if isinstance(body, bytes) else body.encode()
    page = parse_page(data, charset, limits, SOURCES)
    assert page is not None
    return page


def _sources(body: str) -> list[str]:
    return [image.attributes.get("src", "") for image in _page(body).images]


@pytest.mark.parametrize(
    ("body", "charset", "encoding"),
    [
        (b"\xef\xbb\xbf<meta charset=koi8-r>", "iso-8859-2", "UTF-8"),
        ("<p>x".encode("utf-16"), "iso-8859-2", "UTF-16LE"),
        (b"<meta charset=koi8-r>", "iso-8859-2", "ISO-8859-2"),
        (b"<meta charset=koi8-r>" + LATE + b"<meta charset=big5>", None, "KOI8-R"),
        (LATE + b"<meta charset=koi8-r>", None, "KOI8-R"),
        (b"<meta charset=utf-16>", None, "UTF-8"),
        (b"<p>gr\xc3\xbc\xc3\x9fe", None, "UTF-8"),
        (b"<meta charset=koi8-r>", "bogus", "KOI8-R"),
        (b"<meta charset=bogus><p>caf\xe9", "\xfc", "windows-1252"),
        (b"<p>x", "gb2312", "GBK"),
        (b"<p>x", None, "windows-1252"),
    ],
)
def test_the_encoding_has_an_order(body: bytes, charset: str | None, encoding: str) -> None:
    assert _page(body, charset).encoding == encoding


@pytest.mark.parametrize("label", ["gb2312", "iso-8859-1", "shift_jis", "koi8-r"])
@pytest.mark.parametrize("text", ["图像说明文字" * 4, "größer überfließt " * 8])
def test_a_page_of_utf8_under_another_label_is_utf8(label: str, text: str) -> None:
    body = f'<meta charset={label}><img src=a alt="{text}">'.encode()
    for page in (_page(body), _page(body, label), _page(body + "字".encode()[:2])):
        assert (page.encoding, page.images[0].attributes["alt"]) == ("UTF-8", text)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("gbk", "图像说明文字"),
        ("big5", "圖像說明文字"),
        ("shift_jis", "画像の説明文"),
        ("euc-kr", "그림설명"),
        ("koi8-r", "Картинка"),
        ("windows-1252", "größer über"),
    ],
)
def test_an_old_label_is_believed_where_the_bytes_are_no_utf8(label: str, text: str) -> None:
    body = f'<meta charset={label}><img src=a alt="{text * 8}">'.encode(label)
    assert _page(body).images[0].attributes["alt"] == text * 8


def test_few_characters_prove_no_utf8() -> None:
    body = b"<meta charset=iso-8859-2><img>" + "é".encode() * 15
    assert _page(body).encoding == "ISO-8859-2"


@pytest.mark.parametrize(("body", "encoding"), ENCODINGS)
def test_the_encoding_is_that_of_the_public_suite(body: str, encoding: str) -> None:
    assert _page(body.encode("latin-1")).encoding.lower() == encoding.lower()


def test_only_one_case_of_the_public_suite_needs_scripts() -> None:
    assert len(ENCODINGS) == 82


@pytest.mark.parametrize("label", ["replacement", "iso-2022-kr", "hz-gb-2312"])
def test_an_encoding_that_must_not_be_decoded_gives_no_page(label: str) -> None:
    assert parse_page(b"<img>", label, LIMITS, ()) is None


def test_references_are_decoded_once() -> None:
    page = _page('<img alt="&#xD800; &#0; &#128; &copy=1 &amp;amp;">')
    assert page.images[0].attributes["alt"] == "\ufffd \ufffd \u20ac &copy=1 &amp;"


def test_images_come_by_kind_and_in_document_order() -> None:
    body = (
        "<input type=image src=i><AMP-ANIM src=n></AMP-ANIM><amp-img src=m></amp-img><img src=a>"
        "<input src=no><image src=b><input type=IMAGE src=j><IMG SRC=c>"
    )
    page = _page(body)
    assert [(image.tag, image.attributes["src"]) for image in page.images] == [
        *[("img", name) for name in "abc"],
        ("amp-img", "m"),
        ("amp-anim", "n"),
        *[("input", name) for name in "ij"],
    ]


@pytest.mark.parametrize("tag", ["amp-img", "AMP-IMG", "Amp-Img"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_amp_images_are_found_however_they_are_written(tag: str, encoding: str) -> None:
    assert len(_page(f"<p><{tag} src=a></{tag}>".encode(encoding)).images) == 1


@pytest.mark.parametrize(
    "tag",
    [
        "script",
        "style",
        "textarea",
        "title",
        "xmp",
        "iframe",
        "noembed",
        "noframes",
        "plaintext",
        "template",
    ],
)
def test_what_holds_no_elements_holds_no_images(tag: str) -> None:
    assert _sources(f"<img src=a><{tag}><img src=b></{tag}>") == ["a"]


def test_comments_hold_no_images_and_noscripts_do() -> None:
    assert _sources("<!-- <img src=a> --><noscript><img src=b></noscript>") == ["b"]
    assert _sources("<head><noscript><img src=b></noscript><title>x</title>") == ["b"]


def test_a_template_that_becomes_a_shadow_tree_is_shown() -> None:
    shadow = "<div><template shadowrootmode=open><img src=a>%s</template></div>"
    assert _sources(shadow % "") == ["a"]
    assert _sources(shadow % "<template><img src=b></template>") == ["a"]
    assert _sources("<template>" + shadow % "" + "</template>") == []


def _within(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    tags = st.sampled_from(["div", "p", "span", "ul", "li", "figure", "picture", "noscript"])
    return st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>", tags, st.lists(inner, max_size=5)
    )


IMAGES = st.builds(
    lambda number, mark: f"<img src=/{number}.jpg{mark}alt='a &amp; \u00e9 {number}'>",
    st.integers(0, 99),
    st.sampled_from([" ", " lazy ", " title=x ", " class='a b' "]),
)


@given(st.recursive(IMAGES | st.sampled_from(["text", "&nbsp;", "<br>"]), _within))
def test_another_parser_lists_the_same_images_on_sane_pages(body: str) -> None:
    other = selectolax.lexbor.LexborHTMLParser(f"<!DOCTYPE html><title>x</title><main>{body}")
    expected = [
        {name: value or "" for name, value in image.attributes.items()}
        for image in other.css("img")
    ]
    page = _page(f"<!DOCTYPE html><title>x</title><main>{body}")
    assert [image.attributes for image in page.images] == expected


def test_bases_are_found_anywhere_but_in_templates() -> None:
    page = _page(
        "<div><template shadowrootmode=open><base href=/s/></template></div>"
        "<template><base href=/t/></template><noscript><img src=x></noscript><base target=_top>"
        "<base href=/a/><p><img src=y><base href='data:,x'>"
    )
    assert page.bases == ("/a/", "data:,x")


def test_metas_are_found_in_the_whole_document() -> None:
    page = _page(
        "<head><meta name=Robots content=noai><noscript><img src=x></noscript>"
        "<meta property='og:image' content='a.jpg'><body><p><meta name=' openwit ' content=noml>"
        "<meta name=tdm-reservation><meta name=description content=x>"
    )
    assert page.metas == (
        Meta("robots", "noai"),
        Meta("og:image", "a.jpg"),
        Meta("openwit", "noml"),
        Meta("tdm-reservation", ""),
    )


def test_a_meta_may_have_several_names() -> None:
    page = _page("<meta name=image property='og:image TWITTER:image og:image' content=a.jpg>")
    assert page.metas == (Meta("og:image", "a.jpg"), Meta("twitter:image", "a.jpg"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<html lang=de><p>x", "de"),
        ("<!-- x --><p>x<html lang=fr>", "fr"),
        ("<html lang=''><p>x", None),
        ("<p lang=de>x", None),
        ("", None),
    ],
)
def test_the_language_is_that_of_the_root(body: str, expected: str | None) -> None:
    assert _page(body).language == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<a rel='nofollow LICENSE' href=/l>x</a>", "/l"),
        ("<a rel=license href=/a>x</a><link rel=license href=/l>", "/a"),
        ("<a rel=license>x</a><a rel=license href=/b>x</a>", "/b"),
        ("<area rel=license href=/c>", "/c"),
        ("<link rel=license href=/l><a rel=license href=/a>x</a>", "/l"),
        ("<a rel=licensed href=/l>license</a>", None),
        ("<p>x", None),
    ],
)
def test_the_license_is_the_first_link_that_says_so(body: str, expected: str | None) -> None:
    assert _page(body).license_href == expected


def test_sources_of_a_picture_belong_to_its_image() -> None:
    page = _page(
        "<picture><source srcset=a type=image/webp><source srcset=b><img src=c></picture>"
        "<img src=d><picture><img src=e><source srcset=f></picture>"
    )
    assert [image.sources for image in page.images] == [
        ({"srcset": "a", "type": "image/webp"}, {"srcset": "b"}),
        (),
        ({"srcset": "f"},),
    ]


@pytest.mark.parametrize(
    ("body", "twins"),
    [
        ("<img src=a><noscript><img src=b></noscript>", {0: 1}),
        ("<p><noscript><img src=b></noscript><img src=a>", {1: 0}),
        ("<img src=a>\n<script></script><style></style><noscript><img></noscript>", {0: 1}),
        ("<a><span><img src=a></span></a><noscript><p><img></noscript>", {0: 1}),
        ("<img src=a><noscript><img><img></noscript>", {}),
        ("<p><img><img></p><noscript><img></noscript>", {}),
        ("<p><img><img></p><noscript><img></noscript><img src=a>", {3: 2}),
        ("<p>text</p><noscript><img></noscript>", {}),
        ("<img src=a><p>text</p><noscript><img></noscript>", {}),
        ("<amp-img src=a><noscript><img src=b></noscript></amp-img>", {1: 0}),
        ("<amp-anim src=a><noscript><img src=b></noscript></amp-anim>", {1: 0}),
        ("<p><amp-anim src=a></amp-anim></p><noscript><img src=b></noscript>", {1: 0}),
        ("<p><input type=image></p><noscript><img src=b></noscript>", {1: 0}),
        ("<img src=a><noscript>text</noscript>", {}),
        (
            "<amp-img src=a><noscript><img src=b></noscript></amp-img><noscript><img></noscript>",
            {2: 0},
        ),
    ],
)
def test_a_noscript_beside_an_image_holds_its_twin(body: str, twins: dict[int, int]) -> None:
    assert _page(body).twins == twins


def test_captions_belong_to_the_figures_around_an_image() -> None:
    page = _page(
        "<figure><img src=a><figure><img src=b><figcaption>in<b>ner</b></figcaption></figure>"
        "<figcaption>outer <script>x()</script><template>t</template><figure><img src=c>"
        "<figcaption>deep</figcaption></figure>end</figcaption></figure>"
        "<figure><img src=d></figure><img src=e>"
    )
    texts = [[page.captions[index] for index in image.figures] for image in page.images]
    assert texts == [["outer end"], ["inner", "outer end"], ["deep", "outer end"], [""], []]


def test_figures_are_left_alone_when_nobody_asks() -> None:
    body = b"<figure><img><figcaption>x</figcaption></figure>"
    page = parse_page(body, None, LIMITS, ())
    assert page is not None
    assert page.captions == ()
    assert page.images[0].figures == ()


def test_an_image_that_can_have_no_text_is_not_read() -> None:
    body = (
        b"<img src=a><img src=b alt=x><img src=c><noscript><img src=d></noscript><img alt title=t>"
    )
    page = parse_page(body, None, LIMITS, ("alt",))
    assert page is not None
    sources = [image.attributes.get("src") for image in page.images]
    assert sources == [None, "b", "c", "d", None]


def test_links_are_those_that_may_be_followed() -> None:
    limits = PageLimits(max_tags=99, max_images=9, max_links=4)
    page = _page(
        "<meta http-equiv=refresh content='5; url=/r'><link rel=next href=/n><link href=/l>"
        "<area href=/b><a href=/a>x</a><a href=/x rel='me NOFOLLOW'>x</a><a>x</a>",
        limits=limits,
    )
    assert page.links == ("/r", "/a", "/b", "/n")
    many = _page("<a href=/a>x</a>" * 9, limits=limits)
    assert many.links == ("/a",) * 4
    assert _page("<a href=/a>x</a>").links == ()


def test_a_page_is_cut_at_the_limit_of_tags() -> None:
    limits = PageLimits(max_tags=3, max_images=9)
    whole = _page("<img src=a><img src=b><img src=c>", limits=limits)
    assert (len(whole.images), whole.is_cut) == (3, False)
    cut = _page("<img src=a><img src=b><img src=c><img src=d>", limits=limits)
    assert (len(cut.images), cut.is_cut) == (3, True)


def test_images_beyond_the_limit_are_counted() -> None:
    page = _page("<img>" * 7, limits=PageLimits(max_tags=99, max_images=5))
    assert (len(page.images), page.images_passed_over) == (5, 2)


def test_attributes_are_bounded_in_number_and_length() -> None:
    names = " ".join(f"a{number}=1" for number in range(MAX_ATTRIBUTES + 100))
    page = _page(f"<img {names}><img alt={'x' * (MAX_VALUE_CHARACTERS + 1)}>")
    assert list(page.images[0].attributes) == [f"a{number}" for number in range(MAX_ATTRIBUTES)]
    assert len(page.images[1].attributes["alt"]) == MAX_VALUE_CHARACTERS


def test_an_attribute_without_value_is_empty_and_lists_are_text_again() -> None:
    page = _page("<img class=' lazy  big ' alt rel='a b'>")
    assert page.images[0].attributes == {"class": "lazy big", "alt": "", "rel": "a b"}


def test_the_engine_keeps_no_tree_deeper_than_512() -> None:
    document = turbohtml.parse(b"<div>" * 2_000 + b"<img>")
    ancestors = document.select("img")[0].ancestors
    assert sum(isinstance(node, turbohtml.Element) for node in ancestors) <= 512


HOSTILE = {
    "nested div": b"<div>" * 100_000 + b"<img src=a>",
    "nested figure": b"<figure><figcaption>" * 50_000 + b"<img src=a>",
    "nested picture": b"<picture><source srcset=a>" * 50_000 + b"<img src=a>",
    "nested template": b"<template>" * 100_000 + b"<img src=a>",
    "nested noscript": b"<p><noscript><img src=a>" * 30_000,
    "formatting": b"<b><i><a>" * 30_000 + b"<img src=a>",
    "table": b"<table><tr><td>" * 30_000 + b"<img src=a>",
    "attributes": b"<img " + b" ".join(b"a%d=1" % number for number in range(100_000)) + b">",
    "equal attributes": b"<img " + b"a=1 " * 100_000 + b">",
    "images": b"<img src=a alt=b>" * 500_000,
    "sources": b"<picture>" + b"<source srcset=a>" * 100_000 + b"<img><img><img>",
    "images in one picture": b"<picture>" + b"<source srcset=a><img>" * 50_000,
    "images beside noscripts": b"<img><noscript><img></noscript>" * 30_000,
    "noscripts in a row": b"<img>" + b"<noscript><img></noscript>" * 60_000,
    "metas": b"<meta name=robots content=noai>" * 100_000,
    "bases": b"<base href=a>" * 100_000,
    "long alt": b"<img src=a alt='" + b"x" * 20_000_000 + b"'>",
    "unclosed quote": b"<img alt='" + b"<img src=a>" * 100_000,
    "unclosed comment": b"<!--" + b"<img src=a>" * 100_000,
    "plaintext": b"<plaintext>" + b"<img src=a>" * 100_000,
    "NULs": b"\0" * 5_000_000,
    "less than": b"<" * 5_000_000,
    "ampersands": b"<img alt='" + b"&#x" * 1_000_000 + b"'>",
    "licenses": b"<a rel=license>" * 100_000,
    "templates around images": b"<template shadowrootmode=open>"
    + b"<div>" * 500
    + b"<p><img>" * 90_000,
    "bases in a template": b"<template>" + b"<div>" * 500 + b"<p><base href=a>" * 90_000,
    "captions in captions": b"<figcaption>" * 90_000 + b"<figure><img>",
    "siblings full of siblings": (b"<div>" + b"<br>" * 380) * 500
    + b"</div><noscript><img></noscript>" * 500,
    "JSON-LD": b"<script type=application/ld+json>"
    + b'{"@type":"ImageObject","a":[' * 1_000
    + b"</script>"
    + b'<script type=application/ld+json>[{"@type":"ImageObject"}]</script>' * 20_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_page_made_to_be_expensive_is_not(body: bytes) -> None:
    start = time.process_time()
    page = _page(body)
    assert time.process_time() - start < 1
    assert len(page.images) <= LIMITS.max_images


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff\xfe", b"\xff" * 99, b"<", b"<img", b"</"])
def test_fragments_of_bytes_are_pages_without_images(body: bytes) -> None:
    assert _page(body).images == ()
