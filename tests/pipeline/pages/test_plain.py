import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.urls.tracking_pixel import tracker, tracker_beginnings
from filters.urls.url_key import MAX_URL_CHARACTERS
from pipeline.pages.candidates import row_flags
from pipeline.pages.image_url import PLACEHOLDER_WORDS, Chosen, UrlChooser
from pipeline.pages.plain import BEYOND_ASCII, plain_texts, plain_urls
from pipeline.pages.texts import MAX_TEXT_CHARACTERS, FoundText, Texts, read_texts

PAGE = "https://p.example/d/e/page.html?q=/x"
BASES = (PAGE, "http://cdn.example/", "https://a.b.example/i.jpg", "http://h.example:81/a%20b/c")


def _urls(raws: list[str | None], base: str = PAGE) -> list[str | None]:
    pages = np.zeros(len(raws), np.int64)
    return plain_urls(pa.array(raws, pa.string()), pages, [PAGE], [base])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://h.example/a%20b.jpg?w=1,2", "https://h.example/a%20b.jpg?w=1,2"),
        ("//h.example/a.jpg", "https://h.example/a.jpg"),
        ("/a//b.jpg", "https://p.example/a//b.jpg"),
        ("../a.jpg", "https://p.example/d/a.jpg"),
        ("i/a.jpg?x:y", "https://p.example/d/e/i/a.jpg?x:y"),
        ("a.jpg", "https://p.example/d/e/a.jpg"),
    ],
)
def test_most_urls_need_no_judging(raw: str, expected: str) -> None:
    assert _urls([raw]) == [expected]


def test_each_value_belongs_to_its_page() -> None:
    raw = pa.array(["a.jpg", None, "a.jpg", "/a.jpg"])
    bases = ["https://a.example/x/", "https://b.example/y/z"]
    assert plain_urls(raw, np.array([1, 0, 0, 1]), bases, bases) == [
        "https://b.example/y/a.jpg",
        None,
        "https://a.example/x/a.jpg",
        "https://b.example/a.jpg",
    ]


HOSTS = st.sampled_from(["h.example", "H.example", "h", "h.", "1.2.3.4", "h.example:80", "xn--a.b"])
BEGINNINGS = st.sampled_from(["", "/", "//", "../", "../../", "./", "?", "#", "\\", " ", "data:"])
PARTS = st.sampled_from(
    [
        *("a", "B", "a.jpg", "/", "..", ".", "%2e", "%2E", "%41", "%", "?", "#", ":", "@", "\\"),
        *("x y", "\t", "'", "|", "{", "${", "<%", "\u00e9", ";", ",", "page.html", "?q=/x", "d/e/"),
        *(".svg", ".ICO", ".svg?", ".gif", ".png", "1x1", "311x113", "true", "null", "-", "_"),
        *PLACEHOLDER_WORDS,
        *tracker_beginnings(),
    ]
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            BEGINNINGS | HOSTS.map("https://{}/".format) | HOSTS.map("//{}/".format),
            st.lists(PARTS, max_size=5).map("".join),
        ).map("".join),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(BASES),
)
def test_what_needs_no_judging_is_what_the_rules_give(raws: list[str], base: str) -> None:
    chooser = UrlChooser(page_url=PAGE, base=base, rule="best", max_srcset_width=2048)
    for raw, url in zip(raws, _urls(list(raws), base), strict=True):
        if url is not None:
            assert chooser.judge(raw, "src") == Chosen(url, "src")
            assert tracker(url) is None
            assert row_flags(Chosen(url, "src"), Texts((), False), ()) == ()


@pytest.mark.parametrize("line", tracker_beginnings())
def test_every_line_of_the_tracker_list_is_seen(line: str) -> None:
    host = line if not line.startswith("/") else f"h.example{line}"
    urls = [f"https://{host}", f"https://x.{host}/b.gif".replace("//b", "/b")]
    assert _urls(list(urls)) == [None, None]


def test_the_longest_urls_are_plain_and_longer_ones_are_not() -> None:
    longest = "https://h.example/" + "a" * (MAX_URL_CHARACTERS - 18)
    assert _urls([longest, longest + "a"]) == [longest, None]


@given(
    st.lists(
        st.text("ab .&;\n\t\u00a0\u00ad\u200b\u00e9\u0301\u0e33\u4e2d\u3000\ufffd\U0001f436")
        | st.text(max_size=12)
        | st.sampled_from(["a.jpg", "a.JPEG", "x" * MAX_TEXT_CHARACTERS, "x" * 5_000]),
        min_size=1,
        max_size=20,
    )
)
def test_a_text_that_needs_no_look_is_what_the_rules_give(texts: list[str]) -> None:
    for text, is_plain in zip(texts, plain_texts(pa.array(texts)).tolist(), strict=True):
        if is_plain:
            assert read_texts([("alt", text)]) == Texts(
                (FoundText("alt", text, None, False),), False
            )


def test_characters_beyond_ascii_stay_as_they_are_beside_each_other() -> None:
    for first, last in BEYOND_ASCII:
        for start in range(first, last + 1, 1_000):
            text = "".join(map(chr, range(start, min(start + 1_000, last + 1))))
            for each in (text, "a".join(text)):
                assert plain_texts(pa.array([each])).tolist() == [True]
                assert read_texts([("alt", each)]).found[0].text == each


@pytest.mark.parametrize(
    "text", ["A dog.", "Ein M\u00e4dchen", "\u72ac \u3068 \u732b", "\u201cSo\u201d"]
)
def test_most_texts_need_no_look(text: str) -> None:
    assert plain_texts(pa.array([text, "", None])).tolist() == [True, False, False]
