import csv
import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import ConfigError
from pipeline.readers.lists import BadRow, ListRow, read_list
from pipeline.readers.reasons import Fault

SHA256 = bytes(range(32))
MD5 = bytes(range(16))
TABLE: dict[str, list[Any]] = {
    "url": ["http://h/1", "http://h/2", "http://h/3"],
    "caption": ["a dog", 'a "cat", sleeping', "ein Büro"],
    "page_url": ["http://p/", None, "x"],
    "WIDTH": [640, None, 3],
    "HEIGHT": [480, 7, None],
    "LICENSE": ["http://l/", None, "?"],
    "sha256": [SHA256.hex(), None, None],
    "md5": [None, MD5.hex().upper(), None],
    "other": [1, 2, 3],
}
ROWS = [
    ("http://h/1", "a dog", "http://p/", "http://l/", 640, 480, SHA256, None),
    ("http://h/2", 'a "cat", sleeping', "", "", None, 7, None, MD5),
    ("http://h/3", "ein Büro", "x", "?", 3, None, None, None),
]


def lines_of(table: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def as_csv(table: dict[str, list[Any]], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(table), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(lines_of(table))
    return file.getvalue().encode()


def as_jsonl(table: dict[str, list[Any]]) -> bytes:
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines_of(table)).encode()


def as_parquet(table: dict[str, list[Any]], **settings: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file, **settings)
    return file.getvalue()


FORMS = {
    "csv": as_csv(TABLE),
    "tsv": as_csv(TABLE, "\t"),
    "csv, LF": as_csv(TABLE).replace(b"\r\n", b"\n"),
    "csv, last line without end": as_csv(TABLE).removesuffix(b"\r\n"),
    "jsonl": as_jsonl(TABLE),
    "parquet": as_parquet(TABLE),
    "parquet, one row a group": as_parquet(TABLE, row_group_size=1),
}


def read(data: bytes, url: str = "", text: str = "", most: int = 1 << 16) -> list[ListRow | BadRow]:
    found = read_list(
        io.BytesIO(data), "a.list", url_column=url, text_column=text, max_row_bytes=most
    )
    return list(found)


def values_of(found: list[ListRow | BadRow]) -> list[tuple[Any, ...]]:
    return [
        (
            *(row.url, row.text, row.page_url, row.license),
            *(row.width_px, row.height_px, row.sha256, row.md5),
        )
        if isinstance(row, ListRow)
        else (row.number, row.fault, row.detail)
        for row in found
    ]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str) -> None:
    data = FORMS[form]
    for each in [data] if form.startswith("parquet") else [data, gzip.compress(data)]:
        found = read(each)
        assert values_of(found) == ROWS
        assert [row.number for row in found] == [0, 1, 2]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_byte_order_mark_is_nothing(form: str) -> None:
    assert values_of(read(b"\xef\xbb\xbf" + FORMS[form])) == ROWS


@pytest.mark.parametrize("url", ["url", "URL", "image_url"])
@pytest.mark.parametrize("text", ["caption", "TEXT", "text", "alt"])
def test_columns_go_by_their_aliases(url: str, text: str) -> None:
    table = {"x": ["0"], text: ["a dog"], url: ["http://h/1"]}
    for data in (as_csv(table), as_jsonl(table), as_parquet(table)):
        [row] = read(data)
        assert isinstance(row, ListRow)
        assert (row.url, row.text) == ("http://h/1", "a dog")


@pytest.mark.parametrize("form", [as_csv, as_jsonl, as_parquet])
def test_two_columns_of_one_kind_are_an_error_and_a_setting_decides(form: Any) -> None:
    data = form({"url": ["u"], "TEXT": ["one"], "caption": ["two"], "mine": ["three"]})
    with pytest.raises(ConfigError, match=r"a\.list: text column: TEXT and caption .*set input"):
        read(data)
    for name, text in {"TEXT": "one", "caption": "two", "mine": "three"}.items():
        [row] = read(data, text=name)
        assert isinstance(row, ListRow)
        assert row.text == text


@pytest.mark.parametrize("form", [as_csv, as_jsonl, as_parquet])
def test_a_column_that_is_missing_is_an_error(form: Any) -> None:
    with pytest.raises(ConfigError, match="url column: none of url, URL, image_url among src, alt"):
        read(form({"src": ["u"], "alt": ["x"]}))
    with pytest.raises(ConfigError, match=r"none of link .*set input\.url_column"):
        read(form({"url": ["u"], "alt": ["x"]}), url="link")


def test_a_column_that_is_there_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="url and url"):
        read(b"url,url,text\n1,2,3\n")


def test_files_without_rows_have_none() -> None:
    for data in (b"", b"url,text\n", gzip.compress(b""), as_parquet({"url": [], "text": []})):
        assert read(data) == []


def test_a_malformed_line_costs_itself_only() -> None:
    data = b"url,text\nu1,one\nu2\nu3,three,3\n\nu4,\xff\nu5,five\n"
    assert [row[:2] for row in values_of(read(data))] == [
        *(("u1", "one"), (1, Fault.LIST_ROW), (2, Fault.LIST_ROW)),
        *((3, Fault.LIST_ROW), ("u5", "five")),
    ]
    details = [row.detail for row in read(data) if isinstance(row, BadRow)]
    assert details == [
        "line 3: 1 fields, the header has 2",
        "line 4: 3 fields, the header has 2",
        "line 6: text: not UTF-8",
    ]


def test_a_malformed_json_line_costs_itself_only() -> None:
    good = b'{"url": "u", "text": "t"}\n'
    bad = [
        b"nothing\n",
        b"[1]\n",
        b'{"url": "u"',
        b'\n{"url": 7, "text": "t"}\n',
        b'{"url": "u", "text": "\\ud800"}\n',
        b'{"url": "u", "text": "\xff"}\n',
        b'{"url": ' + b"[" * 9000 + b"\n",
    ]
    found = read(good + good.join(line.rstrip(b"\n") + b"\n" for line in bad) + good)
    assert [isinstance(row, BadRow) for row in found] == [
        *(False, True, False, True, False, True, False, True),
        *(False, True, False, True, False, True, False),
    ]
    assert [row.number for row in found] == list(range(15))


def test_a_json_file_whose_first_line_is_damaged_is_read() -> None:
    found = read(b'{"url"\n{"url": "u", "text": "t"}\n')
    assert [type(row) for row in found] == [BadRow, ListRow]


def test_keys_that_a_json_line_lacks_are_empty() -> None:
    _, row = read(b'{"url": "u", "text": "t", "md5": null}\n{"other": 1}\n')
    assert isinstance(row, ListRow)
    assert (row.url, row.text) == ("", "")


def test_a_line_that_is_too_long_costs_itself_only() -> None:
    data = b"url,text\nu1,one\nu2," + b"x" * 5000 + b"\nu3,three\nu4," + b"y" * 3000
    found = values_of(read(data, most=1000))
    assert found[0][:2] == ("u1", "one")
    assert found[1] == (1, Fault.LIST_ROW, "line 3: longer than 1000 bytes")
    assert found[2][:2] == ("u3", "three")
    assert found[3] == (3, Fault.LIST_ROW, "line 5: longer than 1000 bytes")


def test_a_text_may_hold_lines_and_an_open_quote_does_not_eat_the_file() -> None:
    [row] = read(b'url,text\nu,"one\ntwo"\n')
    assert isinstance(row, ListRow)
    assert row.text == "one\ntwo"
    data = b'url,text\nu1,"open\n' + b"u,text\n" * 60_000
    found = read(data)
    assert isinstance(found[0], BadRow)
    assert len(found) > 40_000


def test_a_digest_that_could_never_be_found_equal_makes_a_bad_row() -> None:
    for value in ("abc", "z" * 64, SHA256.hex()[:-2], MD5.hex()):
        [row] = read(f"url,text,sha256\nu,t,{value}\n".encode())
        assert isinstance(row, BadRow)
        assert row.detail == "line 2: sha256: not 64 hexadecimal digits"


def test_digests_may_be_bytes() -> None:
    table = pa.table({"url": ["u"], "text": ["t"], "sha256": [SHA256], "md5": [MD5]})
    file = io.BytesIO()
    pq.write_table(table, file)
    [row] = read(file.getvalue())
    assert isinstance(row, ListRow)
    assert (row.sha256, row.md5) == (SHA256, MD5)


@pytest.mark.parametrize(
    ("value", "px"),
    [("640", 640), ("640.0", 640), (" 7px", 7), ("", None), ("x", None), ("1234567890", None)],
)
def test_sizes_are_leading_digits(value: str, px: int | None) -> None:
    [row] = read(f"url,text,width\nu,t,{value}\n".encode())
    assert isinstance(row, ListRow)
    assert row.width_px == px


def test_columns_of_other_types_are_read_or_cost_their_rows() -> None:
    columns = {
        "url": pa.array(["u", "v"]).dictionary_encode(),
        "text": pa.array(["t", None], pa.large_string()),
        "width": pa.array([640.0, None], pa.float64()),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    first, second = read(file.getvalue())
    assert isinstance(first, ListRow)
    assert isinstance(second, ListRow)
    assert (first.url, first.text, first.width_px) == ("u", "t", 640)
    assert (second.text, second.width_px) == ("", None)
    [row] = read(as_parquet({"url": ["u"], "text": [{"a": 1}]}))
    assert isinstance(row, BadRow)
    assert row.detail == "row 0: text: a dict, not a text"


def test_bytes_that_are_no_utf8_cost_their_row_of_parquet() -> None:
    texts = pa.array([b"one", b"\xff", b"three"], pa.binary()).view(pa.string())
    file = io.BytesIO()
    pq.write_table(pa.table({"url": ["u", "u", "u"], "text": texts}), file)
    found = read(file.getvalue())
    assert [type(row) for row in found] == [ListRow, BadRow, ListRow]


def test_damage_of_a_row_group_costs_its_rest_only() -> None:
    rows = 3000
    table = {
        "url": [f"http://h/{n}" for n in range(rows)],
        "text": [f"text {n}" for n in range(rows)],
    }
    data = bytearray(as_parquet(table, row_group_size=1000, compression="zstd"))
    middle = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    start = middle.dictionary_page_offset or middle.data_page_offset
    data[start : start + 60] = b"\xff" * 60
    found = read(bytes(data))
    [bad] = [row for row in found if isinstance(row, BadRow)]
    assert bad.number == 1000
    assert bad.detail.startswith("rest of row group 1: ")
    numbers = [row.number for row in found if isinstance(row, ListRow)]
    assert numbers == [*range(1000), *range(2000, 3000)]


def test_what_is_no_parquet_file_is_one_bad_row() -> None:
    data = as_parquet(TABLE)
    for damaged in (b"PAR1", b"PAR1" + bytes(100), data[:-9], data.replace(b"other", b"oth\x89r")):
        [row] = read(damaged)
        assert isinstance(row, BadRow)
        assert row.detail.startswith("no Parquet file: ")


def test_a_fault_of_the_storage_is_raised() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset if whence == 0 else 1000

        def readinto(self, buffer: Any) -> int:
            buffer[:4] = b"PAR1"
            if len(buffer) > 4:
                raise OSError(5, "Input/output error")
            return 4

    file = io.BufferedReader(Failing(), 4)
    with pytest.raises(OSError, match="Input/output"):
        list(read_list(file, "a", url_column="", text_column="", max_row_bytes=9))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda data: data[:-200], Fault.GZIP_TRUNCATED),
        (lambda data: data[:-6] + b"\xff" * 6, Fault.GZIP_CORRUPT),
    ],
)
def test_damage_of_a_gzip_list_costs_its_rest(change: Any, fault: Fault) -> None:
    lines = b"".join(b"http://h/%d,%d some text\n" % (n, n * n) for n in range(20_000))
    found = read(change(gzip.compress(b"url,text\n" + lines)))
    assert isinstance(found[-1], BadRow)
    assert found[-1].fault is fault
    assert all(isinstance(row, ListRow) for row in found[:-1])
    assert found[-1].number == len(found) - 1 > 1000


@given(st.binary(max_size=60), st.integers(0, 300), st.sampled_from(sorted(FORMS)))
def test_damage_raises_nothing(noise: bytes, at: int, form: str) -> None:
    data = FORMS[form]
    try:
        found = read(data[:at] + noise + data[at + len(noise) :])
    except ConfigError:
        return
    assert all(isinstance(row, ListRow | BadRow) for row in found)
