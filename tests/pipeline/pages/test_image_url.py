import pytest

from filters.verdict import DropReason
from pipeline.pages.image_url import (
    LAZY_SRCSETS,
    STRONG_LAZY,
    WEAK_LAZY,
    Chosen,
    UrlChooser,
    UrlRule,
    is_marked_lazy,
    placeholder,
)
from pipeline.pages.page import ImageElement

PAGE = "https://p.example/d/page.html"
IMAGES = "https://p.example/d/"


def _element(
    attributes: dict[str, str], *sources: dict[str, str], tag: str = "img"
) -> ImageElement:
    return ImageElement(tag, attributes, sources, ())


def _choose(
    attributes: dict[str, str],
    *sources: dict[str, str],
    rule: UrlRule = "best",
    twin: dict[str, str] | None = None,
    tag: str = "img",
) -> Chosen | DropReason:
    chooser = UrlChooser(page_url=PAGE, base=PAGE, rule=rule, max_srcset_width=2048)
    return chooser.choose(
        _element(attributes, *sources, tag=tag), None if twin is None else _element(twin)
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", DropReason.NO_URL),
        (" \n ", DropReason.NO_URL),
        ("#", DropReason.NO_URL),
        ("true", DropReason.NO_URL),
        ("false", DropReason.NO_URL),
        ("null", DropReason.NO_URL),
        ("undefined", DropReason.NO_URL),
        ("{{image.url}}", DropReason.NO_URL),
        ("/a/${name}.jpg", DropReason.NO_URL),
        ("/a/<%= name %>.jpg", DropReason.NO_URL),
        ("{url}", DropReason.NO_URL),
        ('["a.jpg"]', DropReason.NO_URL),
        ("page.html", DropReason.NO_URL),
        ("#top", DropReason.NO_URL),
        ("data:image/gif;base64,R0lGOD", DropReason.URL_SCHEME),
        ("DATA:image/png,x", DropReason.URL_SCHEME),
        ("blob:https://p.example/1", DropReason.URL_SCHEME),
        ("javascript:void(0)", DropReason.URL_SCHEME),
        ("about:blank", DropReason.URL_SCHEME),
        ("https://h:99999/x", DropReason.URL_INVALID),
        ("https://u@h/x", DropReason.URL_USERINFO),
        ("blank.gif", DropReason.PLACEHOLDER),
    ],
)
def test_a_value_that_is_no_image_url_says_why(raw: str, reason: DropReason) -> None:
    assert _choose({"src": raw}) is reason
    assert _choose({"src": raw, "data-src": "a.jpg"}) == Chosen(f"{IMAGES}a.jpg", "lazy:data-src")


def test_the_first_value_gives_the_reason() -> None:
    assert _choose({"src": "blank.gif", "data-src": "data:,x"}) is DropReason.PLACEHOLDER
    assert _choose({"src": "data:,x", "data-src": "blank.gif"}) is DropReason.URL_SCHEME
    assert _choose({}) is DropReason.NO_URL


@pytest.mark.parametrize(
    "name",
    [
        "blank.gif",
        "spacer.png",
        "1x1.PNG",
        "img-placeholder-300x200.svg",
        "grey.gif",
        "pixel_trans.gif",
        "transparent1.png",
        "loading.svg?v=1",
        "lazyload.png",
        "dummy-image-01.jpg",
        "loading.jpg",
        "placeholder_600.webp",
        "lazy-loader.jpeg",
        "transparentpixel.png",
        "native-ad-placeholder.png",
        "logo-1x1.png",
    ],
)
def test_certain_placeholders_are_known(name: str) -> None:
    assert placeholder(f"https://h/a/{name}") == "certain"


@pytest.mark.parametrize(
    "name",
    [
        "woman-grey-hair-smiling.jpg",
        "loading-dock.jpeg",
        "pixel-4a.webp",
        "blanket-coverage.png",
        "pixelize.svg",
    ],
)
def test_names_that_may_show_something_are_only_suspect(name: str) -> None:
    assert placeholder(f"https://h/a/{name}") == "suspect"


@pytest.mark.parametrize(
    "name",
    [
        "a.gif",
        "blank/a.gif",
        "a.jpg?x=blank.gif",
        "blank.gif/",
        "blank.gif.php",
        "blank.gif.jpg",
        "dog.jpg",
        "logo-311x113.png",
        "1x12.gif",
    ],
)
def test_other_names_are_no_placeholders(name: str) -> None:
    assert placeholder(f"https://h/{name}") == ""


def test_a_suspect_is_used_when_nothing_else_is() -> None:
    suspect = "loading-dock.jpg"
    assert _choose({"src": suspect}) == Chosen(IMAGES + suspect, "src", is_suspect=True)
    assert _choose({"src": suspect, "data-image": "a.png"}) == Chosen(
        f"{IMAGES}a.png", "lazy:data-image"
    )


@pytest.mark.parametrize("name", STRONG_LAZY)
def test_a_lazy_attribute_is_used_after_src_unless_the_image_is_marked_lazy(name: str) -> None:
    lazy = Chosen(f"{IMAGES}b.jpg", f"lazy:{name}")
    assert _choose({name: "b.jpg"}) == lazy
    assert _choose({"src": "a.jpg", name: "b.jpg"}) == Chosen(f"{IMAGES}a.jpg", "src")
    assert _choose({"src": "a.jpg", name: "b.jpg", "class": "x lazyload"}) == lazy


def test_lazy_attributes_have_an_order() -> None:
    attributes = dict.fromkeys(reversed(STRONG_LAZY), "x.jpg")
    assert _choose(attributes) == Chosen(f"{IMAGES}x.jpg", "lazy:data-src")


@pytest.mark.parametrize("name", WEAK_LAZY)
def test_a_weak_attribute_needs_the_extension_of_an_image(name: str) -> None:
    assert _choose({name: "/article/7"}) is DropReason.NO_URL
    assert _choose({name: "/a.PNG?x=1#y"}) == Chosen("https://p.example/a.PNG?x=1", f"lazy:{name}")
    assert _choose({"srcset": "c.jpg 2x", name: "a.png"}) == Chosen(f"{IMAGES}c.jpg", "srcset")


def test_any_data_attribute_with_the_extension_of_an_image_is_better_than_nothing() -> None:
    attributes = {"data-id": "7", "data-n-source": "/a.jpg ", "data-x": "/b.jpg", "y": "/c.jpg"}
    found = Chosen("https://p.example/a.jpg", "lazy:data-n-source")
    assert _choose(attributes) == found
    assert _choose(attributes | {"src": "blank.gif"}) == found
    assert _choose(attributes | {"data-image": "/d.png"}) == Chosen(
        "https://p.example/d.png", "lazy:data-image"
    )
    assert _choose(attributes | {"src": "grey-dog.jpg"}) == Chosen(
        f"{IMAGES}grey-dog.jpg", "src", is_suspect=True
    )
    assert _choose(attributes, rule="src") is DropReason.NO_URL
    assert _choose(attributes | {"src": "e"}) == Chosen(f"{IMAGES}e", "src")
    assert _choose({"data-x": "/article/7"}) is DropReason.NO_URL


def test_a_lazy_value_with_widths_is_a_srcset() -> None:
    assert _choose({"data-src": "a.jpg 100w, b.jpg 900w"}) == Chosen(
        f"{IMAGES}b.jpg", "lazy:data-src"
    )
    assert _choose({"data-src": "/my pic 2x.jpg"}) == Chosen(
        "https://p.example/my%20pic%202x.jpg", "lazy:data-src"
    )


@pytest.mark.parametrize("name", LAZY_SRCSETS)
def test_lazy_srcsets_are_read(name: str) -> None:
    assert _choose({name: "a.jpg 1x, b.jpg 2x"}) == Chosen(f"{IMAGES}b.jpg", f"lazy:{name}")


def test_the_first_srcset_with_a_usable_candidate_counts() -> None:
    assert _choose({"srcset": "blank.gif 1x, data:,x 2x", "data-srcset": "a.jpg 1x"}) == Chosen(
        f"{IMAGES}a.jpg", "lazy:data-srcset"
    )
    assert _choose({"srcset": "blank.gif 2x, a.jpg 1x"}) == Chosen(f"{IMAGES}a.jpg", "srcset")


def test_sources_of_a_picture_come_last_and_only_if_they_are_images() -> None:
    sources = (
        {"type": "video/mp4", "srcset": "v.mp4"},
        {"type": " Image/WebP ", "srcset": "w.webp 100w, x.webp 200w"},
        {"srcset": "j.jpg"},
    )
    assert _choose({}, *sources) == Chosen(f"{IMAGES}x.webp", "picture")
    assert _choose({}, *sources[2:]) == Chosen(f"{IMAGES}j.jpg", "picture")
    assert _choose({}, {"data-srcset": "l.jpg"}) == Chosen(f"{IMAGES}l.jpg", "picture")
    assert _choose({"srcset": "a.jpg"}, *sources) == Chosen(f"{IMAGES}a.jpg", "srcset")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"class": "x js-LazyLoad"}, True),
        ({"class": "b-lazy"}, True),
        ({"class": "x lozad"}, True),
        ({"class": "xlozad"}, False),
        ({"class": "photo"}, False),
        ({"loading": "lazy"}, False),
        ({"data-srcset": ""}, True),
        ({"data-lazy-srcset": ""}, True),
        ({"data-original-set": ""}, False),
        ({}, False),
    ],
)
def test_marks_of_lazy_loading_are_known(attributes: dict[str, str], expected: bool) -> None:
    assert is_marked_lazy(attributes) is expected


def test_the_order_of_a_lazy_image() -> None:
    attributes = {
        "class": "lazy",
        "data-src": "strong.jpg",
        "data-srcset": "set.jpg 1x",
        "src": "leer.gif",
        "srcset": "plain.jpg 1x",
    }
    names = []
    while attributes.keys() != {"class"}:
        chosen = _choose(attributes, {"srcset": "picture.jpg"})
        assert isinstance(chosen, Chosen)
        names.append((chosen.url.removeprefix(IMAGES), chosen.source))
        attributes.pop(chosen.source.removeprefix("lazy:"))
    assert names == [
        ("strong.jpg", "lazy:data-src"),
        ("set.jpg", "lazy:data-srcset"),
        ("leer.gif", "src"),
        ("plain.jpg", "srcset"),
    ]


def test_a_twin_comes_after_strong_attributes_and_before_src() -> None:
    twin = {"src": "twin.jpg"}
    assert _choose({"src": "leer.gif"}, twin=twin) == Chosen(f"{IMAGES}twin.jpg", "noscript")
    assert _choose({"data-src": "a.jpg"}, twin=twin) == Chosen(f"{IMAGES}a.jpg", "lazy:data-src")
    assert _choose({"src": "a.jpg"}, twin={"src": "blank.gif"}) == Chosen(f"{IMAGES}a.jpg", "src")


def test_the_rule_src_takes_what_a_wat_file_knows() -> None:
    both = {"src": "a.jpg", "data-src": "b.jpg", "class": "lazy", "srcset": "c.jpg"}
    assert _choose(both, rule="src") == Chosen(f"{IMAGES}a.jpg", "src")
    assert _choose({"srcset": "c.jpg"}, rule="src") is DropReason.NO_URL
    assert _choose({"src": "a.jpg"}, rule="src", tag="amp-img") is DropReason.NO_URL
    assert _choose({"src": "loading-dock.jpg"}, rule="src") == Chosen(
        f"{IMAGES}loading-dock.jpg", "src", is_suspect=True
    )


def test_the_rule_largest_prefers_sets() -> None:
    both = {"src": "a.jpg", "srcset": "b.jpg 500w, c.jpg 900w"}
    assert _choose(both, rule="largest") == Chosen(f"{IMAGES}c.jpg", "srcset")
    assert _choose({"src": "a.jpg"}, {"srcset": "p.jpg"}, rule="largest") == Chosen(
        f"{IMAGES}p.jpg", "picture"
    )
    assert _choose({"src": "a.jpg"}, rule="largest") == Chosen(f"{IMAGES}a.jpg", "src")


def test_urls_belong_to_the_base_and_are_neither_it_nor_the_page() -> None:
    chooser = UrlChooser(
        page_url=PAGE, base="https://cdn.example/i/", rule="best", max_srcset_width=2048
    )
    assert chooser.judge("a.jpg", "src") == Chosen("https://cdn.example/i/a.jpg", "src")
    assert chooser.judge(".", "src") is DropReason.NO_URL
    assert chooser.judge(PAGE, "src") is DropReason.NO_URL


def test_the_images_of_a_page_share_bounded_work() -> None:
    chooser = UrlChooser(page_url=PAGE, base=PAGE, rule="best", max_srcset_width=2048)
    nothing = ",".join(f"{number}/1x1.gif {number + 1}w" for number in range(256))
    picture = _element({"alt": "x"}, *[{"srcset": nothing}] * 64)  # 16,384 URLs, none of an image
    found = [chooser.choose(picture, None) for _ in range(10_000)]
    assert found == [
        *[DropReason.PLACEHOLDER] * 2,
        *[DropReason.TOO_MANY_IMAGES] * 9_998,
    ]
    assert chooser.choose(_element({"src": "a.jpg"}), None) is DropReason.TOO_MANY_IMAGES


def test_a_page_of_4000_lazy_images_with_sets_is_read_whole() -> None:
    chooser = UrlChooser(page_url=PAGE, base=PAGE, rule="best", max_srcset_width=2048)
    widths = ", ".join(f"a-{width}.jpg {width}w" for width in range(100, 2_100, 100))
    images = [_element({"src": "spacer.gif", "data-srcset": widths})] * 4_000
    assert {chooser.choose(image, None) for image in images} == {
        Chosen(f"{IMAGES}a-2000.jpg", "lazy:data-srcset")
    }
