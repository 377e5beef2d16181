from collections.abc import Callable

import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.sample import sample
from manifests.format import Manifest
from manifests.inspection.provenance import of_dataset, of_pair, provenance_lines

MakeDataset = Callable[..., Manifest]


def test_a_dataset_names_its_parents_and_settings(make_dataset: MakeDataset) -> None:
    source = make_dataset(8, 5)
    _, made = sample(source.root, f"{source.root}-2", count=3)
    assert made
    value = of_dataset(made)
    assert [parent["digest"] for parent in value["parents"]] == [source.digest]
    assert value["config"] == {"balance": {"cap": 20}}
    assert any("op sample" in line for line in provenance_lines(value))


def test_a_pair_names_its_queries_and_decisions(make_dataset: MakeDataset) -> None:
    source = make_dataset(8, 5)
    row = source.reader(source.shards[0]).table().to_pylist()[0]
    value = of_pair(source, row["pair_id"].upper())
    assert (value["ok"], value["key"], value["page"]) == (True, "000000000", None)
    assert [each["query"] for each in value["queries"]] == [
        ["café", "dog"][number] for number in row["query_ids"]
    ]
    assert value["decisions"]["image_source"] == "web"


def test_a_dropped_pair_is_in_the_ledger(make_dataset: MakeDataset) -> None:
    source = make_dataset(8, 5)
    value = of_pair(source, "01" * 16)
    assert (value["ok"], value["ledger"][0]["reason"]) == (False, "no_query_match")
    assert of_pair(source, "ab" * 16)["ledger"] == []
    with pytest.raises(RefusedError, match="--pair-id"):
        of_pair(source, "x")
