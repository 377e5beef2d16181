"""Exports say what the manifest says; `test_consumers` gives them to the tools they are for."""

import datetime
import hashlib
import json
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from filters.urls.block_list import parse_entries
from manifests.base.errors import RefusedError
from manifests.derivation.choosing.plan import plan_drop
from manifests.derivation.choosing.selectors import Matcher, Selector, parse
from manifests.derivation.drop import apply_drop
from manifests.derivation.filter import filter_dataset
from manifests.export import EXPORTS, export
from manifests.format import Manifest
from manifests.format.ids import HALVES
from manifests.format.join import rows
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(25, 10)


def column(manifest: Manifest, name: str) -> list[Any]:
    return [each for table in rows(manifest) for each in table[name].to_pylist()]


def read(manifest: Manifest, name: str) -> bytes:
    return pathlib.Path(manifest.root, name).read_bytes()


@pytest.mark.parametrize("kind", EXPORTS)
def test_verify_knows_every_export_and_none_is_overwritten(source: Manifest, kind: str) -> None:
    written = export(source, kind)
    assert verify(source.root, "fast").by_code == {}
    before = {path: pathlib.Path(path).read_bytes() for path in written.paths}
    with pytest.raises(RefusedError, match="--force"):
        export(source, kind)
    assert export(source, kind, force=True) == written
    assert {path: pathlib.Path(path).read_bytes() for path in written.paths} == before


def test_an_unknown_kind_is_refused(source: Manifest) -> None:
    with pytest.raises(RefusedError, match="one of blocklist, croissant"):
        export(source, "xml")


def test_sha256sum_checks_the_list_and_its_lines_are_the_digest(source: Manifest) -> None:
    export(source, "sha256sums")
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run(  # noqa: S603 (words of this file)
        [tool, "-c", "SHA256SUMS"], cwd=source.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.count(": OK") == 8
    lines = read(source, "SHA256SUMS").splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(lines[: 2 * len(source.shards)])).hexdigest()
    assert source.digest == f"sha256:{digest}"


def test_sizes_are_those_that_open_clip_sums(source: Manifest) -> None:
    export(source, "sizes")
    sizes = json.loads(read(source, "shards/sizes.json"))
    assert sizes == {"00000000.tar": 10, "00000001.tar": 10, "00000002.tar": 5}


def test_the_index_of_wids_lists_the_tars(source: Manifest) -> None:
    export(source, "wids")
    index = json.loads(read(source, "wids.json"))
    assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
    assert [each["nsamples"] for each in index["shardlist"]] == [10, 10, 5]


def test_the_card_is_read_by_the_hub(source: Manifest) -> None:
    export(source, "hf-card")
    card = huggingface_hub.DatasetCard.load(pathlib.Path(source.root, "README.md"))
    data = card.data.to_dict()
    assert data["size_categories"] == ["n<1K"]
    assert [each["config_name"] for each in data["configs"]] == ["samples"]
    assert data["configs"][0]["data_files"][0]["path"] == "shards/*.tar"


@pytest.mark.parametrize(
    ("text", "field"),
    [("CC-BY-4.0", "cc-by-4.0"), ("LicenseRef-x", "other"), ("MIT OR Apache-2.0", "other")],
)
def test_licences_are_named_as_the_hub_names_them(
    source: Manifest, tmp_path: pathlib.Path, text: str, field: str
) -> None:
    import dataclasses

    changed = dataclasses.replace(source, license=text, name='a: "b"\n---', description="<b>*x*")
    written = export(changed, "hf-card", out=str(tmp_path / "card"))
    card = huggingface_hub.DatasetCard.load(written.paths[0])
    assert card.data.to_dict()["license"] == field
    assert "\\<b\\>\\*x\\*" in card.text


def test_subset_files_select_the_same_rows(source: Manifest, tmp_path: pathlib.Path) -> None:
    export(source, "datacomp-npy")
    path = pathlib.Path(source.root, "datacomp.npy")
    found = np.load(path)
    assert found.dtype == HALVES
    assert (np.sort(found) == found).all()
    ids = [f"{high:016x}{low:016x}" for high, low in found.tolist()]
    assert ids == column(source, "pair_id")
    made = filter_dataset(source.root, str(tmp_path / "out"), ids=str(path)).dataset
    assert made
    assert made.digest == source.digest


def test_block_lists_are_those_that_the_pipeline_reads(source: Manifest) -> None:
    first = column(source, "original_sha256")[0]
    selectors = [parse("domain", "host1.example"), Selector("sha256", first)]
    plan = plan_drop(source.root, Matcher(selectors))
    made = apply_drop(plan, reason="optout", date=datetime.date(2026, 1, 2))
    export(made, "blocklist")
    for kind, expected in (
        ("pair", sorted(bytes.fromhex(each) for each in plan.rows)),
        ("sha256", [bytes.fromhex(first)]),
    ):
        lines = read(made, f"blocklist/{kind}.txt").splitlines()
        assert parse_entries(kind, lines) == expected  # type: ignore[arg-type]
    domains = read(made, "blocklist/domain.txt").splitlines()
    assert domains == [b"host1.example"]
    assert len(parse_entries("domain", domains)) == 1


def test_croissant_says_what_the_manifest_says(source: Manifest) -> None:
    export(source, "croissant")
    about = json.loads(read(source, "croissant.json"))
    tars = [each for each in about["distribution"] if each["@type"] == "cr:FileObject"]
    assert [each["sha256"] for each in tars] == [shard.tar.sha256 for shard in source.shards]
    assert about["@context"]["containedIn"] == "cr:containedIn"
    assert [each["name"] for each in about["recordSet"]] == ["rows", "images"]


@pytest.mark.parametrize("kind", ["sizes", "wids"])
def test_an_export_is_not_written_through_a_link(source: Manifest, kind: str) -> None:
    root = pathlib.Path(source.root)
    (root / "shards").rename(root.parent / "elsewhere")
    (root / "shards").symlink_to(root.parent / "elsewhere")
    (root / "wids.json").symlink_to(root.parent / "victim")
    with pytest.raises(RefusedError, match="a symbolic link"):
        export(source, kind, force=True)
    assert not (root.parent / "victim").exists()
