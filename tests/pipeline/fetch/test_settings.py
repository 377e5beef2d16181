import pathlib

import pytest

from manifests.base.errors import ConfigError, ExitCode
from pipeline.config import load_config

TEXT = """
root = "run"
[input]
kind = "urls"
paths = ["list.csv"]
[queries]
file = "list.txt"
[fetch]
source = "web"
"""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('fetch.contact="me"', "contact must be a URL or an e-mail address"),
        ('fetch.engine="img2dataset"', "set trusted = true"),
        ('fetch.site=[{match="*.example.com"}]', "reason: is required"),
        ('fetch.site=[{match="*.example.com", reason=" "}]', "must say who allowed it"),
        ('fetch.allow_networks=["10.0.0.0/33"]', "allow_networks must be networks"),
        ('fetch.reuse="always"', "'always' is not one of 'auto', 'never'"),
        ('consent.also_obey=["two words"]', "also_obey must be letters, _ and -"),
    ],
)
def test_what_cannot_be_meant_ends_with_exit_code_2(
    tmp_path: pathlib.Path, setting: str, said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(str(path), [setting])
    assert caught.value.exit_code == ExitCode.REFUSED


def test_rounds_of_other_roots_are_named_from_the_configurations_folder(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    loaded = load_config(str(path), ['fetch.reuse=["old/stages/fetch-r1-0", "s3://b/stages/x"]'])
    assert loaded.fetch.reuse == (str(tmp_path / "old/stages/fetch-r1-0"), "s3://b/stages/x")
