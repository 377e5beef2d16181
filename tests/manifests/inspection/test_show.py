import json
import pathlib
from collections.abc import Callable

import pytest

from manifests.base.errors import RefusedError
from manifests.format import Manifest
from manifests.inspection.show import Wanted, find, row_lines, summary, summary_lines

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def manifest(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(12, 5)


def test_a_sample_is_found_by_key_id_url_and_image(
    manifest: Manifest, tmp_path: pathlib.Path
) -> None:
    (expected,) = find(manifest, Wanted(key="000000007")).samples
    image = tmp_path / "some.jpg"
    image.write_bytes(manifest.reader(manifest.shards[1]).read([2])[0])
    for wanted in (
        Wanted(pair_id=expected["pair_id"].upper()),
        Wanted(url=expected["url"]),
        Wanted(image=str(image)),
    ):
        assert find(manifest, wanted).samples == [expected]
    assert expected["key"] == "000000007"


def test_the_first_samples_of_a_shard_are_shown(manifest: Manifest) -> None:
    shown = find(manifest, Wanted(shard=2, limit=1))
    assert [row["key"] for row in shown.samples] == ["000000010"]


def test_rows_are_json_values(manifest: Manifest) -> None:
    value = find(manifest, Wanted(shard=0)).to_json()
    assert json.loads(json.dumps(value)) == value
    assert value["samples"][0]["dedup_hash"] == "00" * 64


def test_a_dropped_pair_is_shown_from_the_ledger(manifest: Manifest) -> None:
    by_id = find(manifest, Wanted(pair_id="01" * 16))
    by_url = find(manifest, Wanted(url="http://dropped.example/1"))
    assert by_id == by_url
    assert by_id.samples == []
    assert [row["reason"] for row in by_id.ledger] == ["no_query_match"]
    assert by_id.to_json()["ok"] is False


def test_what_is_nowhere_gives_nothing(manifest: Manifest, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for wanted in (Wanted(key="999999999"), Wanted(image=str(tmp_path / "x"))):
        shown = find(manifest, wanted)
        assert (shown.samples, shown.ledger) == ([], [])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(key="12"), "--key: key must be 9 digits"),
        (Wanted(pair_id="xyz"), "--pair-id xyz: must be 32"),
        (Wanted(shard=3), "--shard 3: not in the dataset: it has 3 shards"),
        (Wanted(image="/nonexistent"), "--image /nonexistent: cannot be read"),
    ],
)
def test_malformed_wishes_are_refused(manifest: Manifest, wanted: Wanted, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        find(manifest, wanted)


def test_the_summary_holds_counts_and_funnel(manifest: Manifest) -> None:
    value = summary(manifest)
    assert value["totals"]["samples"] == 12
    text = "\n".join(summary_lines(value))
    assert "toy 1: 12 samples, 3 shards" in text
    assert "match: 15 in, 12 out; dropped no_query_match 3" in text


def test_empty_columns_are_not_printed(manifest: Manifest) -> None:
    lines = list(row_lines(find(manifest, Wanted(key="000000000")).samples[0]))
    assert lines[0] == "000000000"
    assert not any("license_url" in line for line in lines)
