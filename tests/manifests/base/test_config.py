import dataclasses
import pathlib
from typing import Literal

import pytest

from manifests.base.config import apply_overrides, from_tables, read_toml, to_tables
from manifests.base.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be 0 to 1, got {self.rate!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    root: str
    cap: int | None = None
    mode: Literal["a", "b"] = "a"
    strict: bool = True
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_tables_become_nested_settings() -> None:
    built = from_tables(Outer, {"root": "r", "cap": 3, "inner": {"rate": 1, "names": ["x", "y"]}})
    assert built == Outer(root="r", cap=3, inner=Inner(rate=1.0, names=("x", "y")))
    assert isinstance(built.inner.rate, float)


def test_settings_become_json_values_and_back() -> None:
    settings = Outer(root="r", inner=Inner(names=("x",)))
    tables = to_tables(settings)
    assert tables["inner"] == {"rate": 0.5, "names": ["x"]}
    assert from_tables(Outer, {k: v for k, v in tables.items() if v is not None}) == settings


def test_every_problem_is_listed_with_its_place_and_the_nearest_name() -> None:
    tables = {"mod": "a", "strict": 1, "mode": "c", "inner": {"rate": 2.0, "name": []}}
    with pytest.raises(ConfigError) as caught:
        from_tables(Outer, tables, source="run.toml")
    assert str(caught.value).splitlines() == [
        "run.toml mod: not a setting: did you mean mode?",
        "run.toml strict: must be true or false, got 1",
        "run.toml mode: 'c' is not one of 'a', 'b'",
        "run.toml [inner] name: not a setting: did you mean names?",
        "run.toml root: is required and not set",
    ]


def test_a_value_out_of_range_is_told_by_its_owner() -> None:
    with pytest.raises(ConfigError, match=r"run.toml \[inner\] rate must be 0 to 1, got 2.0"):
        from_tables(Outer, {"root": "r", "inner": {"rate": 2.0}}, source="run.toml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": 3}, r"\[inner\] must be a table, got 3"),
        ({"inner": {"names": "x"}}, r"\[inner\] names: must be a list, got 'x'"),
        ({"inner": {"names": ["x", 1]}}, r"\[inner\] names\[1\]: must be a string, got 1"),
        ({"cap": 1.5}, "cap: must be a whole number, got 1.5"),
        ({"cap": True}, "cap: must be a whole number, got True"),
        ({"cap": "3"}, "cap: must be a whole number, got '3'"),
    ],
)
def test_a_wrong_type_is_refused(value: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_tables(Outer, {"root": "r", **value})


def test_overrides_are_toml_or_bare_strings_and_leave_the_tables_alone() -> None:
    tables = {"inner": {"rate": 0.1}}
    changed = apply_overrides(
        tables, ["inner.rate=0.2", "root=out/run", "inner.names=['a', 'b']", "new.key=true"]
    )
    assert changed == {
        "inner": {"rate": 0.2, "names": ["a", "b"]},
        "root": "out/run",
        "new": {"key": True},
    }
    assert tables == {"inner": {"rate": 0.1}}


@pytest.mark.parametrize("override", ["rate", "=3", "root.deep=3"])
def test_an_override_that_names_no_place_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"root": "r"}, [override])


def test_a_missing_or_torn_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: no such file"):
        read_toml(tmp_path / "none.toml")
    torn = tmp_path / "torn.toml"
    torn.write_text("a = [1,")
    with pytest.raises(ConfigError, match=r"torn.toml: not valid TOML"):
        read_toml(torn)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)
