"""The configuration of a run: one table per part, each the settings class of its owner."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from filters.consent.decision import ConsentSettings
from manifests.base.config import apply_overrides, from_tables, read_toml, to_tables
from pipeline.dataset.root import DatasetSettings
from pipeline.engine.options import EngineSettings
from pipeline.fetch.settings import FetchSettings
from pipeline.inputs import absolute
from pipeline.queries.settings import QueriesSettings
from pipeline.readers.kinds import InputSettings
from pipeline.selection.quotas import SelectSettings
from pipeline.stages.balance import BalanceSettings
from pipeline.stages.dedup import DedupSettings
from pipeline.stages.extract import ExtractSettings
from pipeline.stages.match import MatchSettings, TextSettings
from pipeline.stages.preselect import PreselectSettings
from pipeline.stages.shards import ShardsSettings

OTHERS_TABLES = ("train",)
"""Tables of a configuration that belong to other commands and are passed over unread."""


NO_DATA = {
    "queries": ("file", "dump", "text", "pageviews", "wordnet", "max_types"),
    "shards": (
        *("window_bytes", "read_concurrency", "coalesce_gap_bytes", "max_shard_bytes"),
        "replace",
    ),
}
"""Settings that change no byte of the samples, by table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that `openwit-pipeline` can be told; the fields are the tables of the file."""

    root: str
    """Folder or URI of the run, relative to the configuration's folder."""
    ledger: Literal["pairs"] = "pairs"
    """`pairs` writes a row for each dropped pair."""
    input: InputSettings
    extract: ExtractSettings = dataclasses.field(default_factory=ExtractSettings)
    consent: ConsentSettings = dataclasses.field(default_factory=ConsentSettings)
    queries: QueriesSettings
    text: TextSettings = dataclasses.field(default_factory=TextSettings)
    match: MatchSettings = dataclasses.field(default_factory=MatchSettings)
    select: SelectSettings = dataclasses.field(default_factory=SelectSettings)
    preselect: PreselectSettings = dataclasses.field(default_factory=PreselectSettings)
    fetch: FetchSettings = dataclasses.field(default_factory=FetchSettings)
    dedup: DedupSettings = dataclasses.field(default_factory=DedupSettings)
    balance: BalanceSettings = dataclasses.field(default_factory=BalanceSettings)
    dataset: DatasetSettings = dataclasses.field(default_factory=DatasetSettings)
    shards: ShardsSettings = dataclasses.field(default_factory=ShardsSettings)
    engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """A configuration and where it was read from."""

    path: str
    settings: RunConfig

    @property
    def folder(self) -> str:
        """The configuration's folder, from which relative paths count."""
        return str(pathlib.Path(self.path).resolve().parent)

    @property
    def root(self) -> str:
        """ROOT: an absolute path, or a URI."""
        return absolute(self.settings.root, self.folder)

    @property
    def queries(self) -> QueriesSettings:
        """The table `[queries]` with absolute paths."""
        return self.settings.queries.resolved(lambda path: absolute(path, self.folder))


def load_config(path: str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read a configuration file and put `--set` overrides over it.

    Raises:
        ConfigError: with every unknown key, wrong type and value out of range, one a line.
    """
    tables = apply_overrides(read_toml(path), overrides)
    ours = {name: value for name, value in tables.items() if name not in OTHERS_TABLES}
    return LoadedConfig(path, from_tables(RunConfig, ours, source=pathlib.Path(path).name))


def load_queries(path: str, overrides: Sequence[str] = ()) -> QueriesSettings:
    """Read the table `[queries]` of a configuration file alone, its paths made absolute.

    Raises:
        ConfigError: with every problem of that table, one a line.
    """

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class QueriesOnly:
        queries: QueriesSettings

    tables = apply_overrides(read_toml(path), overrides)
    ours = {name: value for name, value in tables.items() if name == "queries"}
    found = from_tables(QueriesOnly, ours, source=pathlib.Path(path).name)
    folder = str(pathlib.Path(path).resolve().parent)
    return found.queries.resolved(lambda name: absolute(name, folder))


def data_settings(settings: RunConfig) -> dict[str, Any]:
    """Return the settings that can change a byte of the dataset, for its manifest.

    What lies where is left out: inputs and query list are named by their digests.
    """
    tables = to_tables(settings)
    del tables["root"]
    tables["input"] = {"kind": settings.input.kind}
    tables["engine"] = {"bucket_bytes": settings.engine.bucket_bytes}
    for table, names in NO_DATA.items():
        tables[table] = {key: value for key, value in tables[table].items() if key not in names}
    return tables
