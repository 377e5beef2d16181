import bz2
import itertools
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.sources import multistream
from pipeline.queries.sources.multistream import stream_ranges

PARTS = [b"<mediawiki>", b"<page>1</page>", b"<page>2</page>" * 9, b"</mediawiki>"]


def write(folder: pathlib.Path, index: str = "") -> tuple[str, str]:
    streams = [bz2.compress(part) for part in PARTS]
    (folder / "dump").write_bytes(b"".join(streams))
    second = len(streams[0]) + len(streams[1])
    (folder / "index").write_text(index or f"{len(streams[0])}:1:a\n{second}:2:b:c\n{second}:3:d\n")
    return str(folder / "dump"), str(folder / "index")


def test_each_range_is_a_whole_export(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = b"".join(PARTS)
    assert [b"".join(each) for each in stream_ranges(*write(tmp_path))] == [whole]
    monkeypatch.setattr(multistream, "RANGE_BYTES", 1)
    found = [b"".join(each) for each in stream_ranges(*write(tmp_path))]
    assert found == [
        b"<mediawiki></mediawiki>",
        b"<mediawiki><page>1</page></mediawiki>",
        b"<mediawiki>" + PARTS[2] + b"</mediawiki>",
    ]
    monkeypatch.setattr(multistream, "READ_BYTES", 3)
    monkeypatch.setattr(multistream, "INFLATED_BYTES", 5)
    assert [b"".join(each) for each in stream_ranges(*write(tmp_path))] == found


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("1:2\n", r"index line 1: b'1:2': must be `offset:page_id:title`"),
        ("0:1:a\nx:1:b\n", r"index line 2: .* must be"),
        ("999999:1:a\n", r"\[999999\] is no offset in the \d+ bytes"),
        ("\n", r"\[\] is no offset"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: pathlib.Path, index: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        stream_ranges(*write(tmp_path, index))


@pytest.mark.parametrize("offset", [3, 60])
def test_an_offset_at_which_no_stream_begins_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    monkeypatch.setattr(multistream, "RANGE_BYTES", 1)
    ranges = stream_ranges(*write(tmp_path, f"{offset}:1:a"))
    with pytest.raises(RefusedError, match=r"dump byte \d+: no whole bzip2 stream"):
        list(itertools.chain(*ranges))
