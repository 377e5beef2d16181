import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.sources.wordnet import read_names, read_synsets


def test_a_name_is_the_first_word_without_marker_in_lower_case(wordnet: str) -> None:
    assert read_names(wordnet, "first") == ["breathe", "galore", "hot dog", "st. bernard"]


def test_all_lemmas_take_every_word(wordnet: str) -> None:
    names = read_names(wordnet, "all")
    assert names == [".38-caliber", "breathe", "frank", "galore", "hot dog", "st. bernard"]


def test_the_word_count_is_hexadecimal(wordnet: str) -> None:
    assert [len(words) for words in read_synsets(wordnet)] == [2, 1, 1, 2, 10]


def test_a_missing_file_is_named(wordnet: str) -> None:
    pathlib.Path(wordnet, "data.adv").unlink()
    with pytest.raises(RefusedError, match=r"data\.adv: no such file"):
        read_names(wordnet, "first")


@pytest.mark.parametrize("line", [b"not a synset\n", b"1 03 n zz dog 0\n", b"1 03 n 02 dog 0\n"])
def test_a_line_that_is_no_synset_is_refused_with_its_number(wordnet: str, line: bytes) -> None:
    with pathlib.Path(wordnet, "data.verb").open("ab") as file:
        file.write(line)
    with pytest.raises(RefusedError, match=r"data\.verb line 3"):
        read_names(wordnet, "first")


@pytest.mark.peer
def test_wordnet_3_has_its_published_counts(real_wordnet: str) -> None:
    names = set(read_names(real_wordnet, "first"))
    cut = {name.partition(".")[0] for name in names} - {""}
    assert sum(1 for _ in read_synsets(real_wordnet)) == 117_659
    assert len(names) == 86_571
    assert len(cut) == 86_554
    assert len(cut | {str(number) for number in range(100)}) == 86_654
    assert len(read_names(real_wordnet, "all")) == 147_306
