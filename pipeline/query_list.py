"""The list of one run: ready or built, it stands once below ROOT, named by what it was made of."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from filters.queries.query_list import METADATA_KEY, SCHEMA_VERSION, read
from filters.text.categories import unicode_version
from manifests.base.config import to_tables
from manifests.base.errors import RefusedError
from manifests.base.version import __version__
from manifests.format.table import TableWriter
from pipeline.engine import files
from pipeline.engine.units import canonical_json
from pipeline.queries.build import build_list, list_inputs
from pipeline.queries.settings import INPUTS, QueriesSettings

_NO_BYTE = ("max_types", "index", "file", "languages")
"""Settings that change no byte of a list, or of which what the files hold counts, not the path."""

DigestOf = Callable[[list[str]], dict[str, str]]
"""Returns the sha256 of each file it is given, by path; it leaves out those it does not know."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunList:
    """The query list that a run numbers its queries by."""

    path: str
    """Parquet with the columns of `filters.queries.query_list.SCHEMA`."""
    sha256: str
    digest: str
    """Names languages and queries, whatever file holds them."""


def find_list(settings: QueriesSettings, root: str, digest_of: DigestOf) -> RunList | None:
    """Return the list if it is below ROOT already.

    Args:
        settings: the table `[queries]`, paths resolved.
        root: ROOT of the run.
        digest_of: the digests of the inputs.

    Raises:
        RefusedError: if there is no input, or one is missing.
    """
    paths = _input_paths(settings)
    digests = digest_of([path for _, path in paths])
    if any(path not in digests for _, path in paths):
        return None
    path = _list_path(settings, root, [(kind, digests[name]) for kind, name in paths])
    if files.size_bytes(path) is None:
        return None
    with files.open_read(path) as file:
        metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
    told = json.loads(metadata[METADATA_KEY])
    return RunList(path=path, sha256=files.sha256_of(path), digest=told["list_digest"])


def prepare_list(
    settings: QueriesSettings, root: str, digest_of: DigestOf, *, workers: int = 0
) -> RunList:
    """Return the list, built or converted first if it is not below ROOT yet.

    Args:
        settings: the table `[queries]`, paths resolved.
        root: ROOT of the run.
        digest_of: the digests of the inputs; must know all of them.
        workers: processes that build; 0 is one per core.

    Raises:
        RefusedError: if an input is missing or wrong, or no query is left.
        OpenwitError: if an input is damaged; names file and byte.
    """
    found = find_list(settings, root, digest_of)
    if found is not None:
        return found
    paths = _input_paths(settings)
    digests = digest_of([path for _, path in paths])
    target = _list_path(settings, root, [(kind, digests[name]) for kind, name in paths])
    if settings.file:
        _convert(settings.file, target)
    else:
        build_list(settings, target, workers)
    made = find_list(settings, root, digest_of)
    if made is None:
        raise RefusedError(f"{target}: an input changed while the list was made: run again")
    return made


def list_bytes(settings: QueriesSettings) -> int:
    """Return the size of all files that the list is made from."""
    return sum(files.size_bytes(path) or 0 for _, path in _input_paths(settings))


def _input_paths(settings: QueriesSettings) -> list[tuple[str, str]]:
    """Return (setting, path) of each input file; missing ones are refused before any work."""
    if settings.file:
        if files.size_bytes(settings.file) is None:
            raise RefusedError(f"queries.file: {settings.file}: no such file: check [queries]")
        return [("file", settings.file)]
    inputs = list_inputs(settings)
    if not inputs:
        raise RefusedError(f"[queries]: no input: set file, or one of {', '.join(INPUTS)}")
    return [(f"{each.lang} {each.kind}", each.path) for each in inputs]


def _list_path(settings: QueriesSettings, root: str, inputs: list[tuple[str, str]]) -> str:
    rules = {
        name: value
        for name, value in to_tables(settings).items()
        if name not in (*INPUTS, *_NO_BYTE)
    }
    made_of: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "rules": {} if settings.file else rules,
        "inputs": inputs,
        "openwit": __version__,
        "pyarrow": pa.__version__,
        "unicode": unicode_version(),
    }
    name = hashlib.sha256(canonical_json(made_of)).hexdigest()[:16]
    return files.join(root, "queries", f"{name}.parquet")


def _convert(source: str, target: str) -> None:
    """Write a ready list of any shape as Parquet."""
    try:
        with files.open_read(source) as file:
            loaded = read(file, source)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise RefusedError(f"queries.file: not a list of queries: {error}") from None
    metadata = {"schema_version": SCHEMA_VERSION} | loaded.metadata | {"list_digest": loaded.digest}
    schema = loaded.table.schema.with_metadata({METADATA_KEY: canonical_json(metadata)})
    with files.new_file(target.rpartition("/")[0]) as made:
        writer = TableWriter(made, schema, dictionary=("lang", "source"))
        for batch in loaded.table.replace_schema_metadata(schema.metadata).to_batches():
            writer.write(batch)
        writer.close()
        made.publish(target)
