"""The laws of cutting and joining: parts are disjoint and complete, and go together again."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.derivation.filter import filter_dataset
from manifests.derivation.merge import merge
from manifests.derivation.sample import sample
from manifests.derivation.split import Part, split
from manifests.format import Manifest
from manifests.format.join import blocks, rows
from manifests.inspection.diff import diff
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]
LAWS = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def ids(manifest: Manifest) -> list[str]:
    return [each for table in rows(manifest, ["pair_id"]) for each in table["pair_id"].to_pylist()]


def drawn(source: Manifest, out: str, **options: Any) -> Manifest:
    made = sample(source.root, out, **options)[1]
    assert made is not None
    return made


@pytest.fixture
def out(tmp_path: pathlib.Path) -> Callable[[], str]:
    """Names of new folders, emptied at each call."""

    def fresh() -> str:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return str(tmp_path / "out")

    return fresh


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(30, 7)


@LAWS
@given(
    cut=st.integers(1, 9), seed=st.integers(0, 2**64 - 1), by=st.sampled_from(["pair_id", "host"])
)
def test_parts_are_disjoint_complete_and_merge_to_the_whole(
    source: Manifest, out: Callable[[], str], cut: int, seed: int, by: Any
) -> None:
    folder = out()
    parts = [Part("a", f"0.{cut}"), Part("b", f"0.{10 - cut}")]
    made = split(source.root, folder, parts, seed=seed, by=by)
    both = [ids(part) for part in made.values()]
    assert sorted(both[0] + both[1]) == ids(source)
    whole, given_rows = merge([part.root for part in made.values()], f"{folder}/whole")
    assert whole.digest == source.digest
    assert given_rows == [len(each) for each in both]


@LAWS
@given(first=st.integers(1, 10**6), second=st.integers(1, 10**6), seed=st.integers(0, 9))
def test_a_smaller_fraction_draws_a_subset(
    source: Manifest, out: Callable[[], str], first: int, second: int, seed: int
) -> None:
    small, large = sorted([first, second])
    folder = out()
    draws = [
        set(ids(drawn(source, f"{folder}/{number}", fraction=share, seed=seed)))
        for number, share in enumerate(f"0.{value:07d}" for value in (small, large))
    ]
    assert draws[0] <= draws[1]


@LAWS
@given(count=st.integers(1, 40), seed=st.integers(0, 9))
def test_a_number_of_pairs_is_drawn_exactly_and_nested(
    source: Manifest, out: Callable[[], str], count: int, seed: int
) -> None:
    folder = out()
    few = ids(drawn(source, f"{folder}/a", count=count, seed=seed))
    more = ids(drawn(source, f"{folder}/b", count=count + 3, seed=seed))
    assert len(few) == min(count, 30)
    assert set(few) <= set(more)


@LAWS
@given(chosen=st.sets(st.integers(0, 29)))
def test_a_list_and_its_exclusion_are_complements(
    source: Manifest, out: Callable[[], str], chosen: set[int]
) -> None:
    folder, all_ids = out(), ids(source)
    listed = pathlib.Path(f"{folder}.txt")
    listed.write_text("\n".join(all_ids[number] for number in chosen))
    kept = filter_dataset(source.root, f"{folder}/a", ids=str(listed))
    rest = filter_dataset(source.root, f"{folder}/b", ids=str(listed), exclude=True)
    assert (kept.rows_in, kept.rows_out, kept.not_found) == (30, len(chosen), 0)
    assert kept.rows_out + rest.rows_out == 30
    whole, _ = merge([f"{folder}/a", f"{folder}/b"], f"{folder}/whole")
    assert whole.digest == source.digest


@LAWS
@given(removed=st.sets(st.integers(0, 29)))
def test_diff_names_exactly_the_pairs_that_went(
    source: Manifest, out: Callable[[], str], removed: set[int]
) -> None:
    folder, all_ids = out(), ids(source)
    listed = pathlib.Path(f"{folder}.txt")
    listed.write_text("\n".join(all_ids[number] for number in removed))
    rest = filter_dataset(source.root, f"{folder}/a", ids=str(listed), exclude=True).dataset
    assert rest is not None
    found = diff(source, rest)
    assert found.pairs["removed"] == len(removed)
    assert (found.pairs["added"], found.pairs["changed"]) == (0, 0)
    assert sum(found.pairs.values()) == 30
    assert diff(rest, source).pairs["added"] == len(removed)


@given(
    st.lists(st.lists(st.integers(0, 60), unique=True), min_size=1, max_size=4), st.integers(1, 5)
)
def test_blocks_hold_every_row_once_and_ascend(sources: list[list[int]], size: int) -> None:
    def tables(numbers: list[int]) -> Any:
        texts = [f"{number:032x}" for number in sorted(numbers)]
        for start in range(0, len(texts), size):
            yield pa.table({"pair_id": texts[start : start + size]})

    seen: list[list[str]] = [[] for _ in sources]
    last = ""
    for block in blocks([tables(numbers) for numbers in sources]):
        found = [table["pair_id"].to_pylist() if len(table) else [] for table in block]
        assert min(each[0] for each in found if each) > last
        last = max(each[-1] for each in found if each)
        for own, new in zip(seen, found, strict=True):
            own += new
    assert seen == [[f"{number:032x}" for number in sorted(own)] for own in sources]


@pytest.mark.usefixtures("in_process")
def test_what_is_derived_is_whole(source: Manifest, out: Callable[[], str]) -> None:
    folder = out()
    sample(source.root, f"{folder}/sample", count=11)
    filter_dataset(source.root, f"{folder}/filter", where="duplicates = 0")
    split(source.root, f"{folder}/parts", [Part("a", "0.5"), Part("b", "0.5")])
    merge([f"{folder}/parts/a", f"{folder}/parts/b"], f"{folder}/merge")
    for name in ("sample", "filter", "parts/a", "merge"):
        assert verify(f"{folder}/{name}", "deep").by_code == {}
