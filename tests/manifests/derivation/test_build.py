import dataclasses
import pathlib
from collections.abc import Callable

import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.build import from_records
from manifests.format import Manifest, load
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]


def test_a_lost_root_is_rebuilt_but_for_funnel_and_settings(
    make_dataset: MakeDataset, in_process: None
) -> None:
    source = make_dataset(13, 5)
    path = pathlib.Path(source.root, "manifest.json")
    path.unlink()
    made = from_records(source.root, name="toy").manifest
    assert load(source.root) == made
    assert made.extra == {"recovered": True}
    expected = dataclasses.replace(
        source,
        funnel=None,
        config=None,
        hash=None,
        query_list=None,
        tool=made.tool,
        extra=made.extra,
    )
    assert dataclasses.replace(made, files=source.files) == expected
    files = [sorted(each.files, key=lambda file: file.path) for each in (made, source)]
    assert files[0] == files[1]
    assert verify(source.root, "deep").by_code == {}


def test_a_root_that_is_there_is_left_alone(make_dataset: MakeDataset) -> None:
    with pytest.raises(RefusedError, match="remove it first"):
        from_records(make_dataset(5).root)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"kind":"openwit-shard"}'])
def test_a_malformed_record_is_named(make_dataset: MakeDataset, data: bytes) -> None:
    root = pathlib.Path(make_dataset(9, 5).root)
    (root / "manifest.json").unlink()
    (root / "shards/00000001.json").write_bytes(data)
    with pytest.raises(RefusedError, match=r"shards/00000001\.json"):
        from_records(str(root))


def test_two_records_of_one_shard_are_refused(make_dataset: MakeDataset) -> None:
    root = pathlib.Path(make_dataset(9, 5).root)
    (root / "manifest.json").unlink()
    (root / "shards/00000001-r1.json").write_bytes((root / "shards/00000001.json").read_bytes())
    with pytest.raises(RefusedError, match="shard 1 has 2 records"):
        from_records(str(root))


def test_a_folder_without_records_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="is empty"):
        from_records(str(tmp_path))
    (tmp_path / "x").write_text("x")
    with pytest.raises(RefusedError, match="has no shards"):
        from_records(str(tmp_path))
