"""The files of zero-shot classification: classes, templates, and the class of each sample."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError

PLACE = "{}"
MAX_SHOWN = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Class:
    """One class and the names it goes by."""

    id: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Classes:
    """What images are to be told apart by."""

    classes: tuple[Class, ...]
    templates: tuple[str, ...]
    labels: Mapping[str, int]
    """Pair id, or key, of a sample to the position of its class."""

    def texts(self, number: int) -> list[str]:
        """Return each name of a class in each template."""
        return [
            template.replace(PLACE, name)
            for name in self.classes[number].names
            for template in self.templates
        ]


def load_classes(classes: str, templates: str, labels: str) -> Classes:
    """Read the files.

    Args:
        classes: one name a line; or, if it ends in `.json`, a list of names, or
            `{"classes": [{"id": .., "names": [..]}]}`.
        templates: one a line, with one `{}` for the name; "" is the name alone.
        labels: Parquet with `pair_id` or `key`, and `class`, an id; names are ids where none are
            given.

    Raises:
        RefusedError: with file and line of each problem.
    """
    found = _read_classes(classes)
    ids = {each.id: number for number, each in enumerate(found)}
    return Classes(
        tuple(found),
        tuple(_read_templates(templates)) if templates else (PLACE,),
        _read_labels(labels, ids),
    )


def _read_classes(path: str) -> list[Class]:
    found, problems = list[Class](), list[str]()
    entries, word = _entries(path)
    for number, entry in entries:
        try:
            found.append(_class(entry))
        except ValueError as error:
            problems.append(f"{path}: {word} {number}: {error}")
    seen = dict[str, int]()
    for (number, _), each in zip(entries, found, strict=False):
        for name in dict.fromkeys((each.id, *each.names)):
            if name in seen:
                problems.append(f"{path}: {word} {number}: {name!r} is class {seen[name]} too")
            seen[name] = number
    _refuse(problems)
    if len(found) < 2:
        raise RefusedError(f"{path}: must have at least 2 classes, got {len(found)}")
    return found


def _entries(path: str) -> tuple[list[tuple[int, Any]], str]:
    """Return the entries of a file of classes, each with its number, and what is numbered."""
    if not path.endswith(".json"):
        return [(number, line) for number, line in _lines(path)], "line"
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise RefusedError(f"{path}: not valid JSON: {error}") from None
    listed = value.get("classes") if isinstance(value, dict) else value
    if not isinstance(listed, list):
        raise RefusedError(f'{path}: must be a list of names, or {{"classes": [..]}}')
    return list(enumerate(listed, 1)), "class"


def _class(entry: Any) -> Class:
    if isinstance(entry, str) and entry.strip():
        return Class(entry, (entry,))
    if isinstance(entry, dict) and {"id", "names"} <= set(entry):
        names, identity = entry["names"], entry["id"]
        has_names = isinstance(names, list) and all(isinstance(n, str) and n for n in names)
        if names and has_names and type(identity) in (str, int):
            return Class(str(identity), tuple(names))
    raise ValueError('must be a name, or {"id": .., "names": [..]}')


def _read_templates(path: str) -> list[str]:
    lines = _lines(path)
    _refuse(
        f"{path}: line {number}: must have one {PLACE}, got {line!r}"
        for number, line in lines
        if line.count(PLACE) != 1
    )
    if not lines:
        raise RefusedError(f"{path}: has no template: write one a line, with one {PLACE}")
    return [line for _, line in lines]


def _read_labels(path: str, ids: Mapping[str, int]) -> dict[str, int]:
    try:
        with storage.open_read(path) as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise RefusedError(f"{path}: cannot be read: {error}") from None
    name = next((each for each in ("pair_id", "key") if each in table.column_names), None)
    if name is None or "class" not in table.column_names:
        raise RefusedError(
            f"{path}: must have the columns pair_id or key, and class, has "
            f"{', '.join(table.column_names)}"
        )
    labels, problems = dict[str, int](), list[str]()
    rows = zip(table[name].to_pylist(), map(str, table["class"].to_pylist()), strict=True)
    for row, (sample, label) in enumerate(rows, 1):
        if label not in ids:
            problems.append(f"{path}: row {row}: {label!r} is not a class")
        elif sample in labels:
            problems.append(f"{path}: row {row}: {name} {sample!r} is listed twice")
        else:
            labels[sample] = ids[label]
    _refuse(problems)
    return labels


def _lines(path: str) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not empty, numbered."""
    lines = enumerate(_text(path).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _text(path: str) -> str:
    try:
        with storage.open_read(path) as file:
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path}: cannot be read: {error}") from None


def _refuse(problems: Any) -> None:
    found = list(problems)
    if found:
        more = [f"and {len(found) - MAX_SHOWN} more"] if len(found) > MAX_SHOWN else []
        raise RefusedError("\n".join([*found[:MAX_SHOWN], *more]))
