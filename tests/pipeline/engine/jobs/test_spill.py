import pathlib

import pytest

from pipeline.engine import files
from pipeline.engine.jobs.spill import open_spill, read_spilled

LONG = bytes(range(256)) * 4096


def test_references_are_short_and_lead_to_the_blocks(tmp_path: pathlib.Path) -> None:
    with open_spill(str(tmp_path)) as put:
        first = [put(LONG), put(b"x")]
    with open_spill(str(tmp_path)) as put:
        second = [put(b"y" * 10)]
    received = [second[0], first[1], b"a block itself", first[0]]
    assert max(map(len, first + second)) < 64
    found = list(read_spilled(received, str(tmp_path)))
    assert sorted(found) == sorted([LONG, b"x", b"y" * 10, b"a block itself"])


def test_a_reference_that_comes_twice_is_read_once(tmp_path: pathlib.Path) -> None:
    with open_spill(str(tmp_path)) as put:
        reference = put(LONG)
    assert list(read_spilled([reference, reference], str(tmp_path))) == [LONG]


def test_blocks_last_until_their_folder_is_swept(tmp_path: pathlib.Path) -> None:
    with open_spill(str(tmp_path / "step")) as put:
        reference = put(LONG)
    files.sweep(str(tmp_path / "step"))
    assert not list((tmp_path / "step").iterdir())
    with pytest.raises(FileNotFoundError):
        list(read_spilled([reference], str(tmp_path / "step")))
