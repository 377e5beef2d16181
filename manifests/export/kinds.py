"""The kinds of exports, and the one way to write them."""

import dataclasses
from collections.abc import Callable, Mapping

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.export.croissant import croissant
from manifests.export.hf_card import hf_card
from manifests.export.lists import blocklist, datacomp_npy, sha256sums, sizes, wids
from manifests.format.manifest import Manifest

Files = Mapping[str, bytes]
"""Content by name, relative to the folder."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What an export wrote."""

    paths: tuple[str, ...]
    warnings: tuple[str, ...] = ()


EXPORTS: Mapping[str, Callable[[Manifest], Files]] = {
    "blocklist": blocklist,
    "croissant": croissant,
    "datacomp-npy": datacomp_npy,
    "hf-card": hf_card,
    "sha256sums": sha256sums,
    "sizes": sizes,
    "wids": wids,
}
MANY_SHARDS = 5_000
"""Above so many shards a folder has more than the 10,000 files that the Hub allows."""


def export(
    manifest: Manifest, kind: str, *, out: str | None = None, force: bool = False
) -> Written:
    """Write an export.

    Args:
        manifest: the dataset.
        kind: one of `EXPORTS`.
        out: a folder; default: the dataset's, where the paths in the export are right.
        force: whether files that are there are replaced.

    Raises:
        RefusedError: if a file is there, or the dataset cannot be said in this form.
    """
    if kind not in EXPORTS:
        raise RefusedError(f"export {kind}: not a kind: one of {', '.join(EXPORTS)}")
    folder = out or manifest.root
    files = EXPORTS[kind](manifest)
    paths = {name: storage.join(folder, name) for name in files}
    for name, path in paths.items():
        storage.refuse_link(folder, name)
        if not force and storage.size_bytes(path) is not None:
            raise RefusedError(f"{path}: exists: --force replaces it")
    for name, data in files.items():
        storage.write_atomic(paths[name], data)
    many = kind == "hf-card" and len(manifest.shards) > MANY_SHARDS
    warning = f"{len(manifest.shards)} shards: a folder of the Hub takes 10,000 files"
    return Written(tuple(paths.values()), (warning,) if many else ())
