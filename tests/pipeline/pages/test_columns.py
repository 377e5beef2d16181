import datetime

from pipeline.pages.columns import CandidateColumns, PageValues, TextCells
from pipeline.records import CANDIDATES


def _values(page_url: str, license_url: str | None = None) -> PageValues:
    return PageValues(
        page_url=page_url,
        page_lang=None,
        charset="UTF-8",
        license_url=license_url,
        license_source="rel" if license_url else None,
        optout=("tdm:1",),
        page_tdm=1,
        source_file="a.warc.gz",
        source_offset=7,
        source_length=9,
        record_id=None,
        record_date=1_000_000,
    )


def test_no_rows_are_a_batch_of_the_schema() -> None:
    batch = CandidateColumns().to_batch()
    assert (batch.num_rows, batch.schema) == (0, CANDIDATES)


BOTH: TextCells = (("alt", "x", " x"), ("title", "y", None))


def _add(
    columns: CandidateColumns,
    page: int,
    url: str | None,
    position: int,
    texts: TextCells = BOTH,
) -> None:
    rows = columns.rows
    rows.pages.append(page)
    rows.positions.append(position)
    rows.urls.append(url)
    rows.url_sources.append("src")
    rows.sizes.append((10, None))
    rows.flags.append(("svg",))
    rows.add_texts(texts)


def test_rows_carry_the_values_of_their_page() -> None:
    columns = CandidateColumns()
    for name in "abc":
        page = columns.open_page(_values(f"https://{name}/"))
        for position in range("acb".index(name)):
            _add(columns, page, f"https://{name}/{position}.jpg", position)
            _add(columns, page, None, 100)
    assert columns.pages == 3
    rows = columns.to_batch().to_pylist()
    assert [row["url"] for row in rows] == ["https://b/0.jpg", "https://b/1.jpg", "https://c/0.jpg"]
    assert [row["page_url"] for row in rows] == ["https://b/", "https://b/", "https://c/"]
    assert rows[0]["texts"] == [
        {"source": "alt", "text": "x", "raw": " x"},
        {"source": "title", "text": "y", "raw": None},
    ]
    assert (rows[0]["width_attr"], rows[0]["height_attr"]) == (10, None)
    assert rows[0]["flags"] == ["svg"]
    assert rows[0]["optout"] == ["tdm:1"]
    assert rows[0]["record_date"] == datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.UTC)
    assert rows[0]["expect_sha256"] is rows[0]["expect_md5"] is None


def test_each_row_has_its_own_texts() -> None:
    columns = CandidateColumns()
    page = columns.open_page(_values("https://a/"))
    cells: list[TextCells] = [
        (("title", "a", None),),
        (("alt", "b", " b"), ("title", "c", None), ("aria-label", "d", "d ")),
        (("alt", "e", None),),
        (("alt", "f", None), ("title", "g", None)),
    ]
    for place, texts in enumerate(cells):
        _add(columns, page, "https://a/i.jpg", place, texts)
        _add(columns, page, None, place)
    found = [row["texts"] for row in columns.to_batch().to_pylist()]
    assert [tuple(tuple(text.values()) for text in texts) for texts in found] == cells


def test_the_license_of_an_image_beats_that_of_its_page() -> None:
    columns = CandidateColumns()
    for license_url in (None, "https://l/page"):
        page = columns.open_page(_values("https://a/", license_url))
        for own in (None, "https://l/own"):
            if own:
                columns.rows.licenses[len(columns.rows.urls)] = own
            _add(columns, page, "https://a/i.jpg", 0)
    rows = columns.to_batch().to_pylist()
    assert [(row["license_url"], row["license_source"]) for row in rows] == [
        (None, None),
        ("https://l/own", "jsonld"),
        ("https://l/page", "rel"),
        ("https://l/own", "jsonld"),
    ]
