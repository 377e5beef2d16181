import pathlib

import pytest

from manifests.base.errors import ConfigError
from pipeline.config import data_settings, load_config, load_queries

TEXT = """
root = "run"
[input]
kind = "warc"
paths = ["a.warc.gz"]
[queries]
file = "list.txt"
[train]
anything = 1
"""
WHO = 'fetch.contact="me@example.com"'


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    config = tmp_path / "config.toml"
    config.write_text(TEXT)
    return str(config)


def test_paths_count_from_the_configuration(path: str, tmp_path: pathlib.Path) -> None:
    loaded = load_config(path)
    assert loaded.root == str(tmp_path / "run")
    assert loaded.queries.file == str(tmp_path / "list.txt")
    assert load_config(path, ['root="s3://bucket/run"']).root == "s3://bucket/run"


def test_all_problems_are_told_at_once_and_the_trainers_table_is_passed_over(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["select.capp=1", "fetch.image_size=0", "nothing.x=1", "select.seed='a'"])
    said = str(caught.value).split("\n")
    assert len(said) == 4
    assert any("[select] capp: not a setting: did you mean cap?" in line for line in said)
    assert any("image_size must be at least 1, got 0" in line for line in said)
    assert any("nothing" in line for line in said)
    assert not any("anything" in line for line in said)


def test_what_lies_where_is_no_part_of_the_data_settings(path: str) -> None:
    plain = data_settings(load_config(path).settings)
    elsewhere = [
        'root="other"',
        'input.paths=["b.warc.gz"]',
        'queries.file="other.txt"',
        "shards.window_bytes=1000",
        "engine.workers=2",
    ]
    assert data_settings(load_config(path, elsewhere).settings) == plain
    for change in ("select.cap=5", "fetch.image_size=64", "shards.samples_per_shard=7"):
        assert data_settings(load_config(path, [change]).settings) != plain


def test_the_queries_table_can_be_read_alone(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "queries.toml"
    config.write_text('[queries]\nwordnet = "dict"\n[input]\nnonsense = 1\n')
    assert load_queries(str(config)).wordnet == str(tmp_path / "dict")
    with pytest.raises(ConfigError, match="budgt"):
        load_queries(str(config), ["queries.budgt=1"])


def test_archives_of_metadata_and_lists_hold_no_images(path: str) -> None:
    for kind in ("wat", "urls"):
        with pytest.raises(ConfigError, match=f"must be 'web' with input.kind '{kind}'"):
            load_config(path, [f'input.kind="{kind}"', 'fetch.source="archive"'])
        web = load_config(path, [f'input.kind="{kind}"', 'fetch.source="web"', WHO])
        assert web.settings.input.kind == kind
