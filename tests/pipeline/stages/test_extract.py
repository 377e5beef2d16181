import pathlib
from typing import Any

import pytest

from pipeline.stages.extract import ExtractSettings
from tests.pipeline.readers.archives import (
    make_page,
    make_record,
    make_response,
    zipped,
)
from tests.pipeline.stages.extract_cases import extract

JPEG = b"\xff\xd8\xff\xe0" + bytes(500)


def page(html: str | bytes, *fields: str, **more: Any) -> bytes:
    body = html.encode() if isinstance(html, str) else html
    return make_record(make_response(body, *fields), **more)


@pytest.mark.parametrize(
    ("image_index", "archive_wanted", "is_there"),
    [("auto", True, True), ("auto", False, False), (True, False, True), (False, True, False)],
)
def test_the_index_is_written_when_it_is_wanted(
    image_index: Any, archive_wanted: bool, is_there: bool, plain_engine: Any
) -> None:
    data = zipped(make_record(make_response(JPEG, content_type="image/jpeg")))
    found = extract(plain_engine, data, archive_wanted=archive_wanted, image_index=image_index)
    assert bool(found.record.paths("images")) == is_there
    assert ("image_unseekable" in found.unit.notes) == is_there


def test_equal_input_gives_equal_bytes_and_names_no_place(
    plain_engine: Any, tmp_path: pathlib.Path
) -> None:
    data = zipped(*map(make_page, range(20)))[:-30] + b"junk"
    first = extract(plain_engine, data)
    second = extract(type(plain_engine)(root=str(tmp_path / "other" / "root")), data)
    assert first.digests() == second.digests()
    assert str(tmp_path) not in first.record.to_bytes().decode()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_tags": 0}, "max_tags must be at least 1, got 0"),
        ({"text_sources": ()}, "text_sources must be of alt"),
        ({"text_sources": ("alt", "alt")}, "each once, got"),
        ({"text_sources": ("caption",)}, "text_sources must be of alt"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtractSettings(**changed)


def test_parameters_change_the_step_and_the_order_of_sources_does_not(plain_engine: Any) -> None:
    def spec(**changed: Any) -> str:
        return extract(plain_engine, b"", **changed).record.spec

    assert spec() == spec(text_sources=("alt",))
    assert spec(text_sources=("title", "alt")) == spec(text_sources=("alt", "title")) != spec()
    assert spec(max_tags=7) != spec()


def test_texts_come_from_the_sources_asked_for(plain_engine: Any) -> None:
    html = "<figure><img src=/1.jpg alt=one title=two><figcaption>three</figcaption></figure>"
    asked = ("title", "figcaption", "alt")
    found = extract(plain_engine, zipped(page(html)), text_sources=asked)
    [row] = found.rows()
    sources = [(text["source"], text["text"]) for text in row["texts"]]
    assert sources == [("alt", "one"), ("figcaption", "three"), ("title", "two")]
