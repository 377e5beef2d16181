import dataclasses

import pytest

from pipeline.pages.html import parse_page
from pipeline.pages.image_elements import resolve_base
from pipeline.pages.page import PageLimits
from tests.pipeline.pages.page_cases import ALL_TEXTS, PAGE_URL, find_in, json_ld


@pytest.mark.parametrize(
    ("body", "base"),
    [
        ("<p>x", PAGE_URL),
        ("<base href='../i/'>", "https://p.example/i/"),
        ("<base href=/a/><base href=/b/>", "https://p.example/a/"),
        ("<base href='data:,x'><base href=' /b/ '>", "https://p.example/b/"),
        ("<base href='javascript:x'>", PAGE_URL),
        ("<base><base target=x><base href=/b/>", "https://p.example/b/"),
        ("<base href=''>", PAGE_URL),
        ("<base href=//cdn.example/x#y>", "https://cdn.example/x"),
    ],
)
def test_the_first_valid_base_counts(body: str, base: str) -> None:
    page = parse_page(body.encode(), None, PageLimits(max_tags=99, max_images=9), ())
    assert page is not None
    assert resolve_base(page, PAGE_URL) == base


def test_a_base_after_the_images_is_that_of_the_whole_page() -> None:
    found = find_in("<img src=a.jpg alt=dog><p><base href=/i/>")
    assert found.rows[0]["url"] == "https://p.example/i/a.jpg"


LAZY = "<img class=lazyload data-src=a.jpg src=blank.gif alt=dog>"


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        (f"{LAZY}<noscript><img src=a.jpg alt=dog></noscript>", [("a.jpg", "alt:dog")]),
        ("<img src=leer.gif alt=dog><noscript><img src=b.jpg></noscript>", [("b.jpg", "alt:dog")]),
        ("<img src=leer.gif><noscript><img src=b.jpg alt=dog></noscript>", [("b.jpg", "alt:dog")]),
        (
            "<p><noscript><img src=b.jpg alt=dog></noscript><img src=leer.gif>",
            [("b.jpg", "alt:dog")],
        ),
        (
            "<img src=a.jpg alt=dog><noscript><img src=b.jpg alt=cat></noscript>",
            [("a.jpg", "alt:dog"), ("b.jpg", "alt:cat")],
        ),
    ],
)
def test_an_image_and_its_twin_are_one_row(body: str, pairs: list[tuple[str, str]]) -> None:
    found = find_in(body)
    assert [(url, texts) for url, _, texts in found.pairs] == pairs
    assert found.seen == 2
    assert found.reasons == (["noscript_twin"] if len(pairs) == 1 else [])


def test_a_row_of_twins_stands_where_the_image_does_with_the_texts_of_both() -> None:
    found = find_in(
        "<p><noscript><img src=b.jpg title=t alt=dog></noscript><img src=leer.gif title=u>",
        ALL_TEXTS,
    )
    assert found.pairs == [("b.jpg", "noscript", "alt:dog | title:u | title:t")]
    assert found.rows[0]["position"] == 1


def test_a_noscript_that_counts_visits_is_no_twin() -> None:
    found = find_in(
        "<img src=a.jpg alt=dog><noscript>"
        "<img height=1 width=1 src=https://www.facebook.com/tr?id=1></noscript>"
    )
    assert found.pairs == [("a.jpg", "src", "alt:dog")]
    assert found.counts == {"no_text": 1}


@pytest.mark.parametrize(
    ("figure", "texts"),
    [
        ("<img src=a.jpg><img src=a.jpg><figcaption>c</figcaption>", ["figcaption:c"]),
        ("<img src=a.jpg><img src=b.jpg><figcaption>c</figcaption>", []),
        ("<img src=a.jpg><img src=data:,x><figcaption>c</figcaption>", ["figcaption:c"]),
        ("<img src=a.jpg><p><a href=x>link</a>", []),
        (
            "<img src=a.jpg><figcaption>c<figure><img src=b.jpg></figure></figcaption>",
            [],
        ),
        (
            "<figure><img src=a.jpg><figcaption>c</figcaption></figure><figcaption>d</figcaption>",
            ["figcaption:c"],
        ),
        (
            "<img src=x.gif><noscript><img src=a.jpg></noscript><figcaption>c</figcaption>",
            ["figcaption:c"],
        ),
    ],
)
def test_a_caption_belongs_to_the_only_image_of_its_figure(figure: str, texts: list[str]) -> None:
    found = find_in(f"<figure>{figure}</figure>", ALL_TEXTS)
    assert [row for _, _, row in found.pairs] == texts


def test_images_of_metas_and_json_ld_are_rows_of_their_own() -> None:
    body = (
        "<meta property=og:image content=/o.jpg><meta property=og:image:alt content=one>"
        "<meta property=og:image content=/p.jpg><meta property=og:image content=/q.jpg>"
        "<meta property=og:image:alt content=two><meta property=og:image:alt content=late>"
        "<meta name=twitter:image content=/t.jpg><meta name=twitter:image:alt content=three>"
        + json_ld(contentUrl="/j.jpg", caption="four")
        + "<img src=a.jpg alt=zero>"
    )
    found = find_in(body, ALL_TEXTS)
    assert [(url.removeprefix("https://p.example"), *rest) for url, *rest in found.pairs] == [
        ("a.jpg", "src", "alt:zero"),
        ("/o.jpg", "og", "og:image:alt:one"),
        ("/q.jpg", "og", "og:image:alt:two"),
        ("/t.jpg", "twitter", "twitter:image:alt:three"),
        ("/j.jpg", "jsonld", "jsonld:four"),
    ]
    assert [row["position"] for row in found.rows] == [0, 1, 2, 3, 4]
    assert found.rows[1]["width_attr"] is None
    assert [url for url, *_ in find_in(body).pairs] == ["a.jpg"]


def test_a_url_that_is_there_already_gains_the_texts() -> None:
    body = (
        "<meta property=og:image content=a.jpg><meta property=og:image:alt content=one>"
        "<meta name=twitter:image content=a.jpg><meta name=twitter:image:alt content=dog>"
        + json_ld(url="a.jpg", name="two")
        + "<img src=a.jpg alt=dog><img src=a.jpg alt=cat>"
    )
    assert find_in(body, ALL_TEXTS).pairs == [
        ("a.jpg", "src", "alt:dog | og:image:alt:one | jsonld:two"),
        ("a.jpg", "src", "alt:cat"),
    ]


def test_named_images_are_judged_like_others() -> None:
    body = (
        "<meta property=og:image content=data:,x><meta property=og:image:alt content=one>"
        "<meta name=twitter:image content=blank.gif><meta name=twitter:image:alt content=two>"
        + json_ld(url="a.jpg", name="\ud800")
        + json_ld(url="https://bat.bing.com/x", name="three")
    )
    assert find_in(body, ALL_TEXTS).reasons == [
        "bad_encoding",
        "placeholder",
        "tracker",
        "url_scheme",
    ]


def test_json_ld_states_the_license_of_an_image() -> None:
    body = (
        json_ld(contentUrl="a.jpg", license="https://cc.example/by")
        + json_ld(contentUrl="b.jpg", license="javascript:x")
        + json_ld(contentUrl="c.jpg")
        + "".join(f"<img src={name}.jpg alt=dog>" for name in "abc")
    )
    assert [(row["license_url"], row["license_source"]) for row in find_in(body).rows] == [
        ("https://cc.example/by", "jsonld"),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    "block",
    [
        "{",
        '{"@type": "ImageObject", "url": "b.jpg", "caption": NaN}',
        '{"@type": "ImageObject", "url": "b.jpg", "caption": ' + "1" * 5000 + "}",
        '{"@type": "ImageObject", "url": "b.jpg", "caption": ' + "[" * 5000 + "]" * 5000 + "}",
        "[" * 200_000 + '"ImageObject"',
    ],
)
def test_invalid_and_deep_json_ld_is_ignored(block: str) -> None:
    body = f"<script type=application/ld+json>{block}</script><img src=a.jpg alt=dog>"
    assert find_in(body, ALL_TEXTS).pairs == [("a.jpg", "src", "alt:dog")]


def test_images_beyond_the_limit_are_counted_whatever_names_them() -> None:
    rules = dataclasses.replace(ALL_TEXTS, max_images=3)
    own = "".join(json_ld(url=f"/{number}.jpg", name="x") for number in range(4))
    found = find_in("<img src=a.jpg alt=a>" * 2 + own, rules)
    assert (len(found.rows), found.counts) == (2, {"too_many_images": 3})
    found = find_in("<img src=a.jpg alt=a>" * 5 + own, rules)
    assert (len(found.rows), found.counts) == (1, {"too_many_images": 6})
