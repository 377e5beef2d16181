"""The configuration of a run: one table per part, each the settings class of its owner."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from filters.consent.decision import ConsentSettings
from manifests.base.config import apply_overrides, from_tables, read_toml, to_tables
from manifests.base.errors import ConfigError
from pipeline.dataset.root import DatasetSettings
from pipeline.engine.options import EngineSettings
from pipeline.fetch.settings import FetchSettings
from pipeline.inputs import absolute
from pipeline.queries.settings import INPUTS, QueriesSettings
from pipeline.readers.kinds import InputSettings
from pipeline.selection.blocks import BlockListSettings
from pipeline.selection.caps import SelectSettings
from pipeline.stages.balance import BalanceSettings
from pipeline.stages.crawl import CrawlSettings
from pipeline.stages.dedup import DedupSettings
from pipeline.stages.extract import ExtractSettings
from pipeline.stages.match import MatchSettings, TextSettings
from pipeline.stages.preselect import PreselectSettings
from pipeline.stages.shards import ShardsSettings

CRAWLED = "crawl"
"""What `input.paths` says when the archives of a crawl are the input."""
OTHERS_TABLES = ("train",)
"""Tables of a configuration that belong to other commands and are passed over unread."""


NO_DATA = {
    "text": ("words_file",),
    "select": ("counts_file",),
    "crawl": ("seeds",),
    "fetch": (
        *("contact", "delay_s", "delay_factor", "delay_max_s", "max_in_flight", "buffer_bytes"),
        *("host_connections", "site_connections", "address_connections", "connect_to", "reuse"),
        *("segment_bytes", "segment_s", "trusted"),
    ),
    "dedup": ("against", "block", "local_edges", "max_overflow"),
    "queries": ("file", *INPUTS, "languages", "max_types"),
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
    crawl: CrawlSettings = dataclasses.field(default_factory=CrawlSettings)
    input: InputSettings
    extract: ExtractSettings = dataclasses.field(default_factory=ExtractSettings)
    consent: ConsentSettings = dataclasses.field(default_factory=ConsentSettings)
    queries: QueriesSettings
    text: TextSettings = dataclasses.field(default_factory=TextSettings)
    match: MatchSettings = dataclasses.field(default_factory=MatchSettings)
    blocklist: tuple[BlockListSettings, ...] = ()
    select: SelectSettings = dataclasses.field(default_factory=SelectSettings)
    preselect: PreselectSettings = dataclasses.field(default_factory=PreselectSettings)
    fetch: FetchSettings = dataclasses.field(default_factory=FetchSettings)
    dedup: DedupSettings = dataclasses.field(default_factory=DedupSettings)
    balance: BalanceSettings = dataclasses.field(default_factory=BalanceSettings)
    dataset: DatasetSettings = dataclasses.field(default_factory=DatasetSettings)
    shards: ShardsSettings = dataclasses.field(default_factory=ShardsSettings)
    engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        """Refuse tables that contradict each other."""
        if self.input.kind == "img2dataset" and self.fetch.source != "archive":
            raise ValueError(
                "fetch.source must be 'archive' with input.kind 'img2dataset', whose shards hold "
                f"the images, got {self.fetch.source!r}"
            )
        if self.input.kind in ("wat", "urls") and self.fetch.source == "archive":
            raise ValueError(
                f"fetch.source must be 'web' with input.kind {self.input.kind!r}, which holds no "
                "images, got 'archive'"
            )
        if self.select.counts_file and self.balance.mode != "probabilistic":
            raise ValueError(
                f"balance.mode must be 'probabilistic' with select.counts_file, got "
                f"{self.balance.mode!r}"
            )


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
    def text(self) -> TextSettings:
        """The table `[text]` with absolute paths."""
        found = self.settings.text
        path = found.words_file and absolute(found.words_file, self.folder)
        return dataclasses.replace(found, words_file=path)

    @property
    def blocklist(self) -> tuple[BlockListSettings, ...]:
        """The tables `[[blocklist]]` with absolute paths."""
        return tuple(
            dataclasses.replace(each, file=absolute(each.file, self.folder))
            for each in self.settings.blocklist
        )

    @property
    def select(self) -> SelectSettings:
        """The table `[select]` with absolute paths."""
        found = self.settings.select
        path = found.counts_file and absolute(found.counts_file, self.folder)
        return dataclasses.replace(found, counts_file=path)

    @property
    def fetch(self) -> FetchSettings:
        """The table `[fetch]` with absolute paths."""
        found = self.settings.fetch
        if isinstance(found.reuse, str):
            return found
        reuse = tuple(absolute(path, self.folder) for path in found.reuse)
        return dataclasses.replace(found, reuse=reuse)

    @property
    def dedup(self) -> DedupSettings:
        """The table `[dedup]` with absolute paths."""
        return self.settings.dedup.resolved(lambda path: absolute(path, self.folder))

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
    crawl = ours.get("crawl")
    if isinstance(crawl, dict) and crawl.get("seeds"):
        if "input" in ours:
            raise ConfigError("[input]: crawl.seeds is set, too: the crawl is the input; remove it")
        ours["input"] = {"kind": "warc", "paths": [CRAWLED]}
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
    input_keys = ("kind", "url_column", "text_column")
    tables["input"] = {key: tables["input"][key] for key in input_keys}
    tables["engine"] = {"bucket_bytes": settings.engine.bucket_bytes}
    lists = [{key: each[key] for key in ("id", "kind", "at")} for each in tables["blocklist"]]
    tables["blocklist"] = lists
    for table, names in NO_DATA.items():
        tables[table] = {key: value for key, value in tables[table].items() if key not in names}
    del tables["dedup"]["decontaminate"]["eval"]
    return tables
