import json
import pathlib
from typing import Any

import numpy as np
import pytest

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.selection.caps import Caps, SelectSettings, derive_caps, read_foreign_counts

COUNTS = [0, 1, 5, 10, 20, 40, 80, 160, 320, 640]


def derive(counts: list[int], langs: list[str] | None = None, **settings: Any) -> Caps:
    select = SelectSettings(**settings)
    return derive_caps(select, np.array(counts, np.int64), langs or ["en"] * len(counts))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cap": 0}, "^cap must be at least 1"),
        ({"seed": -1}, "^seed must be"),
        ({"seed": 2**63}, "^seed must be"),
        ({"tail_fraction": 0.0}, "^tail_fraction must be"),
        ({"tail_fraction": 1.0}, "^tail_fraction must be"),
        ({"tail_fraction": float("nan")}, "^tail_fraction must be"),
        ({"tail_fraction": 0.5, "cap": 5}, "^cap must be unset with tail_fraction"),
    ],
)
def test_settings_that_mean_nothing_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectSettings(**settings)


def test_the_cap_is_given_or_20000() -> None:
    assert derive(COUNTS).common == 20_000
    assert derive(COUNTS, cap=3).common == 3


def test_a_tail_fraction_gives_the_cap_of_the_specification() -> None:
    assert derive(COUNTS, tail_fraction=0.06).common == 80
    assert derive(COUNTS, tail_fraction=36 / 1276).common == 40
    assert derive([0, 0], tail_fraction=0.06).common == 20_000


def test_each_language_gets_the_tail_of_the_reference() -> None:
    counts = [*COUNTS, *(10 * count for count in COUNTS), 0]
    langs = ["en"] * len(COUNTS) + ["de"] * len(COUNTS) + ["fr"]
    caps = derive(counts, langs, cap=40, per_language=True)
    assert (caps.usual, caps.by_lang, caps.common) == (40, (("de", 400),), None)
    assert caps.of(["en", "de", "fr"]).tolist() == [40, 400, 40]
    assert Caps.from_json(json.loads(json.dumps(caps.to_json()))) == caps


def test_a_reference_without_pairs_is_named() -> None:
    with pytest.raises(OpenwitError, match="reference_lang: en: no query"):
        derive([5], ["de"], per_language=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must be an object"),
        ('{"a": -1}', "must be an object"),
        ('{"a": true}', "must be an object"),
        ("{", "not JSON"),
    ],
)
def test_foreign_counts_that_are_none_are_refused(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    path = tmp_path / "counts.json"
    path.write_text(text)
    with pytest.raises(RefusedError, match=message):
        read_foreign_counts(str(path))
    with pytest.raises(RefusedError, match="cannot be read"):
        read_foreign_counts(str(tmp_path / "absent.json"))
