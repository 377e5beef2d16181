"""TOML files and `--set a.b=value` to frozen dataclasses, strictly: every problem in one list.

A settings class is a frozen, keyword-only dataclass; its fields are annotated with bool, int,
float, str, a list or tuple of one of those, `X | None`, a `Literal`, another settings class, or a
`dict` by name of one of these. A
value that is out of range raises `ValueError` in the class's own `__post_init__`; the message is
shown after the table's name.
"""

import dataclasses
import difflib
import pathlib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from manifests.base.errors import ConfigError

T = TypeVar("T")


def read_toml(path: str | pathlib.Path) -> dict[str, Any]:
    """Read a TOML file; a missing or malformed one is a `ConfigError` that names it."""
    try:
        with pathlib.Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: check the path of the configuration") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def apply_overrides(tables: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `tables` with each `a.b=value` put in; the value is TOML, or a bare string.

    Raises:
        ConfigError: if an override has no `=` or names a place below a plain value.
    """
    result = _copy_tables(tables)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set {override}: has no '=': write --set table.key=value")
        *parents, key = (part.strip() for part in name.split("."))
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {override}: {parent} is a value, not a table")
        table[key] = _parse_value(text.strip())
    return result


def from_tables(kind: type[T], tables: Mapping[str, Any], *, source: str = "settings") -> T:
    """Build the settings class `kind` from parsed TOML.

    Args:
        kind: a settings class, nested as the tables are.
        tables: what `read_toml` or `apply_overrides` returned.
        source: the file's name, put before each problem.

    Raises:
        ConfigError: with every unknown key, wrong type and value out of range, one a line.
    """
    problems: list[str] = []
    result = _build(kind, tables, "", problems)
    if problems:
        raise ConfigError("\n".join(f"{source} {problem}" for problem in problems))
    return typing.cast(T, result)


def to_tables(settings: Any) -> dict[str, Any]:
    """Return settings as plain JSON values, lists for tuples, in the order of the fields."""
    return {
        field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_tables(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _copy_tables(value: Any) -> Any:
    return {k: _copy_tables(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _build(kind: Any, tables: Any, place: str, problems: list[str]) -> Any:
    label = f"[{place}]" if place else ""
    if not isinstance(tables, Mapping):
        problems.append(f"{label} must be a table, got {tables!r}".strip())
        return None
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    before = len(problems)
    values: dict[str, Any] = {}
    for name, value in tables.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f": did you mean {near[0]}?" if near else f": known are {', '.join(fields)}"
            problems.append(f"{label} {name}: not a setting{hint}".strip())
        else:
            child = f"{place}.{name}" if place else name
            values[name] = _convert(hints[name], value, child, f"{label} {name}".strip(), problems)
    for name, field in fields.items():
        no_default = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if name not in tables and no_default:
            if dataclasses.is_dataclass(hints[name]):
                values[name] = _build(
                    hints[name], {}, f"{place}.{name}" if place else name, problems
                )
            else:
                problems.append(f"{label} {name}: is required and not set".strip())
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        problems.append(f"{label} {error}".strip())
        return None


def _convert(hint: Any, value: Any, place: str, label: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, place, problems)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, place, label, problems)
    if origin in (list, tuple):
        return _convert_list(hint, value, place, label, problems)
    if origin is dict:
        return _convert_dict(arguments[1], value, place, label, problems)
    if origin is typing.Literal:
        if value not in arguments:
            known = ", ".join(repr(argument) for argument in arguments)
            problems.append(f"{label}: {value!r} is not one of {known}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        problems.append(f"{label}: must be {_name(hint)}, got {value!r}")
    return value


def _convert_union(
    kinds: Sequence[Any], value: Any, place: str, label: str, problems: list[str]
) -> Any:
    scratch: list[str] = []
    for kind in kinds:
        if kind is types.NoneType:  # TOML has no null: it stands for "not set"
            continue
        scratch = []
        result = _convert(kind, value, place, label, scratch)
        if not scratch:
            return result
    problems.extend(scratch)
    return None


def _convert_list(hint: Any, value: Any, place: str, label: str, problems: list[str]) -> Any:
    if not isinstance(value, list):
        problems.append(f"{label}: must be a list, got {value!r}")
        return None
    kind = typing.get_args(hint)[0]
    items = [
        _convert(kind, item, f"{place}[{index}]", f"{label}[{index}]", problems)
        for index, item in enumerate(value)
    ]
    return typing.get_origin(hint)(items)


def _convert_dict(kind: Any, value: Any, place: str, label: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{label}: must be a table, got {value!r}")
        return None
    return {
        name: _convert(kind, item, f"{place}.{name}", f"{label}.{name}", problems)
        for name, item in value.items()
    }


def _name(hint: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    return names.get(hint, str(hint))
