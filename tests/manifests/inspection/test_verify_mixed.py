"""Several damages at once: each is found by the cheapest level, none hides another."""

import collections
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.format import Manifest
from manifests.inspection.verify import verify
from tests.manifests.damage import Copy

SHARDS = 4
Act = Callable[[pathlib.Path, int], None]


def name(shard: int, ext: str) -> str:
    return f"shards/{shard:08d}.{ext}"


def delete(ext: str) -> Act:
    return lambda root, shard: (root / name(shard, ext)).unlink()


def truncate(root: pathlib.Path, shard: int) -> None:
    path = root / name(shard, "tar")
    path.write_bytes(path.read_bytes()[:3000])


def flip(ext: str) -> Act:
    def act(root: pathlib.Path, shard: int) -> None:
        path = root / name(shard, ext)
        data = bytearray(path.read_bytes())
        data[600] ^= 8
        path.write_bytes(data)

    return act


def edit_record(root: pathlib.Path, shard: int) -> None:
    path = root / name(shard, "json")
    path.write_bytes(path.read_bytes().replace(b'"samples":5', b'"samples":4'))


def link(root: pathlib.Path, shard: int) -> None:
    path = root / name(shard, "tar")
    outside = root.parent / f"outside{shard}"
    shutil.move(path, outside)
    path.symlink_to(outside)


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is done to a shard, and the codes that each level finds."""

    act: Act
    fast: Mapping[str, int]
    more: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What `--sha256` finds besides."""


DAMAGES = {
    "tar deleted": Damage(delete("tar"), {"missing_file": 1}),
    "parquet deleted": Damage(delete("parquet"), {"missing_file": 1}),
    "tar truncated": Damage(truncate, {"size_mismatch": 1}, {"sha256_mismatch": 1}),
    "byte of tar flipped": Damage(flip("tar"), {}, {"sha256_mismatch": 1}),
    "byte of parquet flipped": Damage(flip("parquet"), {}, {"sha256_mismatch": 1}),
    "record deleted": Damage(delete("json"), {"record_missing": 1}),
    "record edited": Damage(edit_record, {"record_mismatch": 1}),
    "tar linked": Damage(link, {"symlink": 1}),
}


@pytest.fixture
def source(make_dataset: Callable[..., Manifest]) -> Manifest:
    return make_dataset(5 * SHARDS, 5)


@pytest.mark.usefixtures("in_process")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.integers(0, SHARDS - 1), st.sampled_from(sorted(DAMAGES))))
def test_every_damage_of_a_mixture_is_found(source: Manifest, chosen: dict[int, str]) -> None:
    copy = Copy(dataclasses.replace(source, root=f"{source.root}-copy/dataset"))
    shutil.rmtree(copy.root.parent, ignore_errors=True)
    shutil.copytree(source.root, copy.root)
    fast: collections.Counter[str] = collections.Counter()
    whole: collections.Counter[str] = collections.Counter()
    for shard, damage in chosen.items():
        DAMAGES[damage].act(copy.root, shard)
        fast.update(DAMAGES[damage].fast)
        whole.update(DAMAGES[damage].fast)
        whole.update(DAMAGES[damage].more)
    assert copy.codes("fast") == fast
    assert copy.codes("sha256") == whole
    deep = verify(str(copy.root), "deep")
    assert {finding.shard for finding in deep.findings} - {None} == set(chosen)
    assert whole.items() <= deep.by_code.items()
