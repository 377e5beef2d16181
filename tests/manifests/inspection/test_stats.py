import pathlib
from collections.abc import Callable

import pytest

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format import Manifest
from manifests.inspection.stats import stats

MakeDataset = Callable[..., Manifest]


def test_counts_are_those_of_the_rows(make_dataset: MakeDataset) -> None:
    value = stats(make_dataset(12, 5))
    names = ("pairs", "unique_url", "unique_phash", "unique_caption", "unique_sha256")
    assert [value[name] for name in names] == [12] * 5
    assert value["languages"] == [{"value": "en", "pairs": 12}]
    assert value["domains"] == [{"value": f"host{n}.example", "pairs": 4} for n in range(3)]
    assert value["licenses"] == [{"value": None, "pairs": 12}]


def test_histograms_have_bins_that_double(make_dataset: MakeDataset) -> None:
    histograms = stats(make_dataset(12, 5))["histograms"]
    assert histograms["width"] == [{"from": 16, "to": 31, "count": 12}]
    assert histograms["duplicates"] == [
        {"from": 0, "to": 0, "count": 6},
        {"from": 1, "to": 1, "count": 6},
    ]
    assert histograms["aspect_ratio"] == [{"from": 1.5, "to": 2.0, "count": 12}]


def test_queries_are_told_apart_by_the_cap(make_dataset: MakeDataset) -> None:
    queries = stats(make_dataset(25, 10), top=1)["queries"]
    assert queries["top"] == [
        {"query": "dog", "matched": 28, "survived": 25, "selected": 25, "kept": 25}
    ]
    assert (queries["listed"], queries["head"], queries["tail_share"]) == (2, 2, 0.0)
    assert queries["pairs_per_query"] == [
        {"from": 8, "to": 15, "count": 1},
        {"from": 16, "to": 31, "count": 1},
    ]


def test_an_empty_dataset_has_counts_too(make_dataset: MakeDataset) -> None:
    value = stats(make_dataset(0))
    assert (value["pairs"], value["domains"]) == (0, [])


@pytest.mark.parametrize("memory", ["1", "lots", "1GiB; DROP", "-1GiB"])
def test_memory_is_a_number_and_a_unit(make_dataset: MakeDataset, memory: str) -> None:
    with pytest.raises(RefusedError, match="--memory"):
        stats(make_dataset(1), memory=memory)


def test_a_damaged_file_is_one_error(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5)
    pathlib.Path(manifest.path("shards/00000000.parquet")).write_bytes(b"x" * 100)
    with pytest.raises(OpenwitError, match="run openwit-manifest verify"):
        stats(manifest)


def test_a_folder_with_quotes_is_read(make_dataset: MakeDataset) -> None:
    assert stats(make_dataset(3, name="it's"))["pairs"] == 3
