import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.corpus import (
    Block,
    count_block,
    read_block,
)
from pipeline.queries.lines import MAX_LINE_BYTES, read_lines
from pipeline.queries.processes import ordered_map
from pipeline.queries.settings import Profile
from pipeline.queries.sources.wikitext import DROPPED_LINKS


def _block(tmp_path: pathlib.Path, segments: list[str], profile: Profile = "clip") -> Block:
    return Block(
        number=0,
        folder=str(tmp_path),
        profile=profile,
        pages=[],
        segments=segments,
        dropped_links=DROPPED_LINKS,
    )


def test_words_have_a_letter_and_keep_their_case(tmp_path: pathlib.Path) -> None:
    counts = count_block(_block(tmp_path, ["The the 19th 1914, the! ½ it's"]))
    assert counts.words == {"The": 1, "the": 2, "19th": 1, "it's": 1}


def test_numbers_are_words_in_metaclip(tmp_path: pathlib.Path) -> None:
    counts = count_block(_block(tmp_path, ["in 1914 - ½"], "metaclip"))
    assert counts.words == {"in": 1, "1914": 1, "½": 1}


def test_scripts_without_blanks_have_no_words(tmp_path: pathlib.Path) -> None:
    assert count_block(_block(tmp_path, ["iPhone手机壳 กขค"])).words == {"iPhone": 1}


def test_a_block_keeps_the_order_of_words_and_the_breaks(tmp_path: pathlib.Path) -> None:
    words, ids = read_block(count_block(_block(tmp_path, ["a b, a", "c"])).path)
    assert words.to_pylist() == ["a", "b", "c"]
    assert ids.tolist() == [0, 1, -1, 0, -1, 2, -1]


def test_an_empty_block_is_valid(tmp_path: pathlib.Path) -> None:
    words, ids = read_block(count_block(_block(tmp_path, [])).path)
    assert words.to_pylist() == []
    assert np.array_equal(ids, np.zeros(0, np.int32))


def test_pages_give_words_links_and_those_given_up(tmp_path: pathlib.Path) -> None:
    block = Block(
        number=3,
        folder=str(tmp_path),
        profile="clip",
        pages=["a [[dog]]", "[[dog|b]] [[Dog]]", "{{{" * 1500 + "}}}" * 1500],
        segments=[],
        dropped_links=DROPPED_LINKS,
    )
    counts = count_block(block)
    assert counts.words == {"a": 1, "dog": 1, "b": 1, "Dog": 1}
    assert counts.links == {"Dog": 2}
    assert counts.pages == {"not_parsed": 1, "kept": -1}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_do_not_depend_on_how_blocks_are_cut(size: int) -> None:
    data = b"\xef\xbb\xbfone\n\ntw\xc3\xb6\r\nlast"
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    assert list(read_lines(blocks, "x")) == ["one", "", "twö\r", "last"]


def test_a_line_that_is_no_utf_8_is_refused_with_its_number() -> None:
    with pytest.raises(RefusedError, match="x line 2: "):
        list(read_lines([b"one\n\xff\n"], "x"))


def test_a_line_without_end_is_refused() -> None:
    def blocks() -> Iterator[bytes]:
        while True:
            yield b"a" * (MAX_LINE_BYTES // 3)

    with pytest.raises(RefusedError, match="x line 1: "):
        list(read_lines(blocks(), "x"))


def test_an_ordered_map_takes_tasks_as_it_needs_them() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    results = ordered_map(abs, tasks(), 1)
    assert next(results) == 0
    assert len(taken) == 2
    assert list(results) == [1, 2]


def test_an_ordered_map_over_processes_keeps_the_order() -> None:
    assert list(ordered_map(abs, iter(range(-20, 0)), 2)) == list(range(20, 0, -1))
