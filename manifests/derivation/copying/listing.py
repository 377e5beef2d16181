"""A list of pair ids instead of a dataset."""

from collections.abc import Sequence

import pyarrow as pa

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.derivation.copying.resume import check_outside
from manifests.derivation.copying.rewrite import KEPT, Choose
from manifests.format.join import rows
from manifests.format.manifest import Manifest


def target(out: str | None, list_only: str | None) -> tuple[str, bool]:
    """Return where a result goes, and whether it is just a list.

    Raises:
        RefusedError: if not exactly one of the two is given.
    """
    if (out is None) == (list_only is None):
        raise RefusedError("--out, --list-only: give one of them")
    return out or list_only or "", list_only is not None


def write_list(
    source: Manifest, path: str, choose: Choose, columns: Sequence[str] | None = None
) -> int:
    """Write the ids of chosen rows, one a line, to a new file and return how many there are.

    Raises:
        RefusedError: if the file exists or lies inside the dataset.
    """
    check_outside([source], path)
    if storage.size_bytes(path) is not None:
        raise RefusedError(f"--list-only {path}: exists: name a new file")
    count, last = 0, ""
    with storage.new_file(path.rpartition("/")[0] or ".") as file:
        for table in rows(source, columns):
            for identity in table.filter(pa.array(choose(table) == KEPT))["pair_id"].to_pylist():
                if identity != last:
                    file.write(identity.encode() + b"\n")
                    count += 1
                last = identity
        file.publish(path)
    return count
