"""`merge`: several datasets as one; a pair that is in two of them comes from the first."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from manifests.base.errors import RefusedError
from manifests.derivation.copying.resume import check_outside
from manifests.derivation.copying.rewrite import Derivation, joined_schema, rewrite
from manifests.format.ids import are_first, are_in, id_array
from manifests.format.join import blocks, rows
from manifests.format.manifest import Manifest, load
from manifests.format.records import OnDuplicate


def merge(
    uris: Sequence[str],
    out: str,
    *,
    on_duplicate: OnDuplicate = "error",
    union_queries: bool = False,
    fill_missing: bool = False,
    allow_config_difference: bool = False,
    quiet: bool = True,
) -> tuple[Manifest, list[int]]:
    """Write the pairs of all datasets as one in `out`.

    Near-duplicates between the datasets stay: only equal pair ids are one pair.

    Args:
        uris: the datasets, two or more.
        out: a folder, absent or empty.
        on_duplicate: what a pair id in two datasets is: an error, or the first one's row counts.
        union_queries: make one list of queries out of different ones.
        fill_missing: let columns be null that a dataset has not.
        allow_config_difference: let settings that affect data differ.
        quiet: whether no progress is shown.

    Returns:
        The new dataset, and how many rows each source gave.

    Raises:
        RefusedError: if the datasets do not fit together; nothing is written then.
        OpenwitError: if one is damaged or changes meanwhile.
    """
    if len(uris) < 2:
        raise RefusedError("merge: name at least two datasets")
    sources = tuple(load(uri) for uri in uris)
    check_outside(sources, out)
    _check_fit(
        sources,
        union_queries=union_queries,
        fill_missing=fill_missing,
        allow_config_difference=allow_config_difference,
    )
    given, first_twice = count_rows(sources)
    if first_twice and on_duplicate == "error":
        raise RefusedError(
            f"{first_twice}: this pair is in more than one dataset: --on-duplicate first keeps one"
        )
    job = Derivation(
        sources=sources,
        duplicate="merge_duplicate",
        accounts=True,
        union_queries=union_queries,
        name=sources[0].name,
        op="merge",
        params={
            "on_duplicate": on_duplicate,
            "union_queries": union_queries,
            "fill_missing": fill_missing,
            "allow_config_difference": allow_config_difference,
        },
    )
    return rewrite(job, out, quiet=quiet), given


def _check_fit(
    sources: Sequence[Manifest],
    *,
    union_queries: bool,
    fill_missing: bool,
    allow_config_difference: bool,
) -> None:
    _check_equal(sources, "image_ext", lambda source: source.image_ext)
    _check_equal(sources, "hash", lambda source: source.hash)
    if not union_queries:
        _check_equal(sources, "query_list", _query_list, "--union-queries")
    if not allow_config_difference:
        _check_equal(sources, "config", lambda each: each.config, "--allow-config-difference")
    _check_schemas(sources, fill_missing=fill_missing)


def _query_list(source: Manifest) -> object:
    return None if source.query_list is None else source.query_list.get("sha256")


def _check_equal(
    sources: Sequence[Manifest],
    name: str,
    get: Callable[[Manifest], object],
    option: str = "",
) -> None:
    for source in sources[1:]:
        if get(source) != get(sources[0]):
            way = f": {option} merges them nevertheless" if option else ""
            raise RefusedError(
                f"{source.root}: {name} {str(get(source))[:200]}, that of {sources[0].root} is "
                f"{str(get(sources[0]))[:200]}{way}"
            )


def _check_schemas(sources: Sequence[Manifest], *, fill_missing: bool) -> None:
    given = [source for source in sources if source.shards]
    whole = joined_schema(given) if given else None
    for source in given:
        own = joined_schema([source])
        for field in whole or ():
            if field.name not in own.names:
                if not fill_missing or not field.nullable:
                    way = ": --fill-missing makes it null" if field.nullable else ""
                    raise RefusedError(f"{source.root}: has no column {field.name}{way}")
            elif not own.field(field.name).type.equals(field.type):
                raise RefusedError(
                    f"{source.root}: column {field.name} is {own.field(field.name).type}, in "
                    f"another dataset {field.type}"
                )


def count_rows(sources: Sequence[Manifest]) -> tuple[list[int], str]:
    """Return how many rows each dataset gives, and the first id that is in two of them, or ""."""
    given, twice = [0] * len(sources), b""
    for block in blocks([rows(source, ["pair_id"]) for source in sources]):
        before: list[NDArray[np.bytes_]] = []
        for number, table in enumerate(block):
            if not len(table):
                continue
            ids = id_array(table["pair_id"])
            ids = ids[are_first(ids)]
            again = np.any([are_in(ids, each) for each in before], axis=0) if before else []
            twice = twice or next(iter(ids[again].tolist()), b"") if np.any(again) else twice
            given[number] += len(ids) - int(np.sum(again))
            before.append(ids)
    return given, twice.decode()
