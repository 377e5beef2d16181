"""The dataset that a ROOT holds already: whether it is this run's, or in its way."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.format.manifest import Manifest, load
from manifests.format.naming import ROOT_NAME
from manifests.format.records import compact_json
from pipeline.config import LoadedConfig, data_settings
from pipeline.dataset.samples import DATASET
from pipeline.dataset.tables import funnel, listed_inputs, public_uri
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Unit


def standing_dataset(loaded: LoadedConfig) -> Manifest | None:
    """Return the dataset that ROOT holds already, if it can be read."""
    folder = files.join(loaded.root, DATASET)
    if files.size_bytes(files.join(folder, ROOT_NAME)) is None:
        return None
    return load(folder)


def _config(loaded: LoadedConfig) -> Any:
    return json.loads(compact_json(data_settings(loaded.settings)))


def is_of(manifest: Manifest | None, loaded: LoadedConfig, records: Sequence[StageRecord]) -> bool:
    """Tell whether a dataset is of these settings, and kept and dropped the same rows."""
    if manifest is None or manifest.config != _config(loaded):
        return False
    return list(manifest.funnel or ())[:-1] == funnel(records)


def in_the_way(manifest: Manifest, loaded: LoadedConfig, units: Sequence[Unit]) -> Iterator[str]:
    """Say that the run would end at a dataset of other settings or inputs, which must stay."""
    before, now = _flat(manifest.config or {}), _flat(_config(loaded))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    sources = [source for unit in units for source in unit.sources]
    if listed_inputs(manifest) != {(public_uri(each.name), each.bytes) for each in sources}:
        changed.append("inputs")
    if changed:
        yield (
            f"{manifest.root}: holds a dataset of other settings or inputs ({', '.join(changed)}): "
            "choose another root, or set shards.replace = true"
        )


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= (
            _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
        )
    return found
