import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.sources.ngrams import NgramCounts, read_ngrams


def read(path: pathlib.Path, text: str) -> tuple[list[tuple[str, ...]], NgramCounts]:
    path.write_text(text, encoding="utf-8")
    found = NgramCounts()
    return list(read_ngrams((str(path),), found)), found


def test_words_bigrams_and_the_number_of_words(tmp_path: pathlib.Path) -> None:
    lines, found = read(tmp_path / "a", "dog\t3\nhot\tdog\t2\r\n\t100\ndon't\t1\n")
    assert lines == [("dog", "3"), ("hot", "dog", "2"), ("don't", "1")]
    assert (found.total, found.malformed) == (100, 0)


BAD = ["dog", "dog\t-1", "dog\tx", "a b\t1", "(dog)\t1", "a\tb\tc\t1", "dog\t1.5", "dog\t\t1"]


@pytest.mark.parametrize("line", BAD)
def test_few_malformed_lines_are_counted_and_many_refused(
    tmp_path: pathlib.Path, line: str
) -> None:
    good = "dog\t1\n" * 99
    lines, found = read(tmp_path / "a", good + line)
    assert (len(lines), found.malformed) == (99, 1)
    with pytest.raises(RefusedError, match=r"a line 2: 1 of 2 lines are not `word TAB count`"):
        read(tmp_path / "a", "dog\t1\n" + line)


def test_bytes_that_are_no_text_are_malformed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"d\xffg\t1\n")
    with pytest.raises(RefusedError, match="a line 1"):
        list(read_ngrams((str(tmp_path / "a"),), NgramCounts()))
