import pytest

from pipeline.pages.json_ld import ImageObject, image_objects

IMAGE = {"@type": "ImageObject", "contentUrl": "a.jpg"}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (IMAGE, ImageObject("a.jpg", None, None)),
        (IMAGE | {"url": "b.jpg"}, ImageObject("a.jpg", None, None)),
        ({"@type": "ImageObject", "url": "b.jpg"}, ImageObject("b.jpg", None, None)),
        (IMAGE | {"contentUrl": " ", "url": "b.jpg"}, ImageObject("b.jpg", None, None)),
        (IMAGE | {"name": "n", "caption": "c"}, ImageObject("a.jpg", "c", None)),
        (IMAGE | {"name": "n", "description": "d"}, ImageObject("a.jpg", "d", None)),
        (IMAGE | {"name": "n", "caption": ""}, ImageObject("a.jpg", "n", None)),
        (IMAGE | {"caption": [7, {"@value": "c"}]}, ImageObject("a.jpg", "c", None)),
        (IMAGE | {"caption": {"@type": "MediaObject"}}, ImageObject("a.jpg", None, None)),
        (IMAGE | {"license": "/l"}, ImageObject("a.jpg", None, "/l")),
        (IMAGE | {"license": {"@id": "/l"}}, ImageObject("a.jpg", None, "/l")),
        (IMAGE | {"license": {"url": ["/l"]}}, ImageObject("a.jpg", None, None)),
        (IMAGE | {"@type": ["Thing", "ImageObject"]}, ImageObject("a.jpg", None, None)),
        (IMAGE | {"@type": "http://schema.org/ImageObject"}, ImageObject("a.jpg", None, None)),
        (IMAGE | {"@type": "schema:ImageObject"}, ImageObject("a.jpg", None, None)),
    ],
)
def test_an_image_object_is_read(block: dict[str, object], expected: ImageObject) -> None:
    assert image_objects([block]) == [expected]


@pytest.mark.parametrize(
    "block",
    [
        None,
        "ImageObject",
        7,
        {},
        {"@type": "ImageObject"},
        {"@type": "ImageObject", "url": 7},
        {"@type": "VideoObject", "url": "a.jpg"},
        {"@type": {"x": "ImageObject"}, "url": "a.jpg"},
        {"@type": [["ImageObject"]], "url": "a.jpg"},
        {"url": "a.jpg"},
    ],
)
def test_all_else_is_passed_over(block: object) -> None:
    assert image_objects([block]) == []


def test_objects_are_found_at_any_depth_in_document_order() -> None:
    def image(url: str) -> dict[str, object]:
        return {"@type": "ImageObject", "url": url}

    nested: object = image("b")
    for _ in range(300):
        nested = [{"x": nested}]
    blocks = [{"@graph": [image("a") | {"thumbnail": nested}, image("c")]}, [image("d")]]
    assert [each.url for each in image_objects(blocks)] == list("abcd")
