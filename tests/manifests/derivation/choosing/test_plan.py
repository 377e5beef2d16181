"""What a takedown may name, and where it may write."""

import pathlib
from collections.abc import Callable

import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.choosing.plan import plan_drop
from manifests.derivation.choosing.selectors import Matcher, Selector, collect, parse
from manifests.format import Manifest


def test_a_dataset_with_a_linked_folder_is_not_changed(
    make_dataset: Callable[..., Manifest],
) -> None:
    root = pathlib.Path(make_dataset(12, 5).root)
    (root / "shards").rename(root.parent / "elsewhere")
    (root / "shards").symlink_to(root.parent / "elsewhere")
    with pytest.raises(RefusedError, match="a symbolic link"):
        plan_drop(str(root), Matcher([parse("domain", "host1.example")]))


@pytest.mark.parametrize("suffix", ["com", "co.uk", "CO.UK."])
def test_a_public_suffix_is_no_domain_to_withdraw(suffix: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="all names below this suffix would go"):
        collect(values={"domain": [suffix]}, files={})
    (tmp_path / "list").write_text(f"example.com\n{suffix}\n")
    with pytest.raises(RefusedError, match="line 2: "):
        collect(values={}, files={"domain": str(tmp_path / "list")})
    assert parse("domain", f"={suffix}") == Selector("domain", f"={suffix.lower().rstrip('.')}")


def test_a_host_of_a_private_suffix_may_be_named() -> None:
    assert parse("domain", "github.io") == Selector("domain", "github.io")
