"""What a root must fulfil to be loaded; every problem is found, with its place in the JSON."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from manifests.format.naming import path_problem
from manifests.format.records import LISTED_FIELDS, SHARD_FIELDS, Finding

# Fixed counts only: linear in the text.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PAIR_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[0-9]{9}")
_STORED = {"path", "bytes", "sha256"}
MAX_INT = 2**63 - 1


class Problems:
    """Collects what is wrong."""

    def __init__(self) -> None:
        """Begin without problems."""
        self.found: list[Finding] = []

    def add(
        self,
        place: str,
        message: str,
        *,
        expected: Any = "",
        actual: Any = "",
        code: str = "bad_root",
    ) -> None:
        """Note a problem at a place such as `shards[3].tar.path`."""
        self.found.append(
            Finding(
                code=code,
                path=place,
                message=message,
                expected=str(expected)[:200],
                actual=str(actual)[:200],
            )
        )


Test = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INT


def _is_text(value: Any) -> bool:
    return type(value) is str


def _matches(pattern: re.Pattern[str]) -> Test:
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def _optional(test: Test) -> Test:
    return lambda value: value is None or test(value)


_FIELDS: Mapping[str, tuple[Test, str]] = {
    "revision": (_is_count, "a whole number from 0"),
    "name": (_is_text, "a string"),
    "version": (_is_text, "a string"),
    "description": (_is_text, "a string"),
    "license": (_optional(_is_text), "a string or null"),
    "digest": (_matches(re.compile(r"sha256:[0-9a-f]{64}")), "sha256: and 64 hex digits"),
    "spec": (
        _optional(_matches(re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}"))),
        "12 and 8 hex digits, or null",
    ),
    "tool": (lambda value: type(value) is dict, "an object"),
    "schema": (lambda value: type(value) is list, "a list"),
    "config": (_optional(lambda value: type(value) is dict), "an object or null"),
    "config_digest": (_optional(_matches(_SHA256)), "64 hex digits or null"),
    "samples_per_shard": (
        lambda value: _is_count(value) and 1 <= value <= 1_000_000,
        "a whole number from 1 to 1000000",
    ),
    "key_digits": (lambda value: type(value) is int and value == 9, "9"),
    "image_ext": (lambda value: value in ("jpg", "mixed"), "jpg or mixed"),
    "order": (lambda value: value in ("pair_id", "as_found"), "pair_id or as_found"),
    "hash": (_optional(lambda value: type(value) is dict), "an object or null"),
    "query_list": (_optional(lambda value: type(value) is dict), "an object or null"),
    "totals": (lambda value: type(value) is dict, "an object"),
    "funnel": (_optional(lambda value: type(value) is list), "a list or null"),
    "parents": (lambda value: type(value) is list, "a list"),
    "files": (lambda value: type(value) is list, "a list"),
    "shards": (lambda value: type(value) is list, "a list"),
}


def root_problems(root: Mapping[str, Any]) -> list[Finding]:
    """Return everything that forbids loading a parsed `manifest.json`, in the order of the file."""
    problems = Problems()
    usable: dict[str, Any] = {}
    for name, (test, wanted) in _FIELDS.items():
        if name not in root:
            problems.add(name, "is missing", expected=wanted)
        elif not test(root[name]):
            problems.add(name, f"must be {wanted}", expected=wanted, actual=repr(root[name]))
        else:
            usable[name] = root[name]
    files = [
        file
        for index, file in enumerate(usable.get("files", []))
        if _file_is_good(f"files[{index}]", file, problems)
    ]
    shards = [
        shard
        for index, shard in enumerate(usable.get("shards", []))
        if _is_plainly_good(shard) or _shard_is_good(f"shards[{index}]", shard, problems)
    ]
    _check_funnel(usable.get("funnel"), problems)
    _check_paths(files, shards, problems)
    _check_ranges(shards, usable.get("order") == "pair_id", problems)
    if len(shards) == len(usable.get("shards", [None])):
        _check_sums(usable, shards, problems)
    return problems.found


def usable_shards(root: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the shard records that are whole in themselves, for a check of a bad root."""
    shards = root.get("shards")
    listed = shards if type(shards) is list else []
    return [shard for shard in listed if _shard_is_good("", shard, Problems())]


def usable_files(root: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table entries that are whole in themselves, for a check of a bad root."""
    files = root.get("files")
    listed = files if type(files) is list else []
    return [file for file in listed if _file_is_good("", file, Problems())]


def _stored_is_good(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == _STORED
        and type(value["path"]) is str
        and path_problem(value["path"]) is None
        and _is_count(value["bytes"])
        and type(value["sha256"]) is str
        and _SHA256.fullmatch(value["sha256"]) is not None
    )


_SHARD_TESTS: Mapping[str, tuple[Test, str]] = {
    "id": (_is_count, "a whole number from 0"),
    "samples": (lambda value: _is_count(value) and value > 0, "a whole number from 1"),
    "key_first": (_matches(_KEY), "9 digits"),
    "key_last": (_matches(_KEY), "9 digits"),
    "pair_id_min": (_matches(_PAIR_ID), "32 hex digits"),
    "pair_id_max": (_matches(_PAIR_ID), "32 hex digits"),
    "tar": (_stored_is_good, "a file: safe path, bytes, sha256"),
    "parquet": (_stored_is_good, "a file: safe path, bytes, sha256"),
}
_FILE_TESTS: Mapping[str, tuple[Test, str]] = {
    "path": (lambda value: _is_text(value) and path_problem(value) is None, "a safe path"),
    "role": (_is_text, "a string"),
    "bytes": (_is_count, "a whole number from 0"),
    "sha256": (_matches(_SHA256), "64 hex digits"),
    "rows": (_is_count, "a whole number from 0"),
}


# All short texts of a record in one pattern of fixed counts.
_SHARD_TEXTS = re.compile(r"[0-9]{9} [0-9]{9} [0-9a-f]{32} [0-9a-f]{32} [0-9a-f]{64} [0-9a-f]{64}")

_OUR_PATHS = re.compile(
    r"shards/[0-9]{8}(?:-r[0-9]{1,9})?\.tar shards/[0-9]{8}(?:-r[0-9]{1,9})?\.parquet"
)


def _is_plainly_good(shard: Any) -> bool:
    """Tell most good records at a third of the cost of a close look, which others get."""
    try:
        tar, parquet = shard["tar"], shard["parquet"]
        texts = " ".join(
            (
                *(shard["key_first"], shard["key_last"]),
                *(shard["pair_id_min"], shard["pair_id_max"]),
                *(tar["sha256"], parquet["sha256"]),
            )
        )
        numbers = (shard["id"], shard["samples"], tar["bytes"], parquet["bytes"])
        return (
            len(tar) == len(parquet) == len(_STORED)
            and all(type(number) is int and 0 <= number <= MAX_INT for number in numbers)
            and shard["samples"] > 0
            and shard["key_first"] <= shard["key_last"]
            and shard["pair_id_min"] <= shard["pair_id_max"]
            and _SHARD_TEXTS.fullmatch(texts) is not None
            and _has_plain_paths(tar["path"], parquet["path"])
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _has_plain_paths(tar: str, parquet: str) -> bool:
    if _OUR_PATHS.fullmatch(f"{tar} {parquet}"):
        return True
    return path_problem(tar) is None and path_problem(parquet) is None


def _shard_is_good(place: str, shard: Any, problems: Problems) -> bool:
    if not _entry_is_good(place, shard, SHARD_FIELDS, _SHARD_TESTS, problems):
        return False
    if shard["key_first"] > shard["key_last"] or shard["pair_id_min"] > shard["pair_id_max"]:
        problems.add(place, "its first key or id is above its last")
        return False
    return True


def _file_is_good(place: str, file: Any, problems: Problems) -> bool:
    return _entry_is_good(place, file, LISTED_FIELDS, _FILE_TESTS, problems)


def _entry_is_good(
    place: str,
    value: Any,
    fields: Sequence[str],
    tests: Mapping[str, tuple[Test, str]],
    problems: Problems,
) -> bool:
    if type(value) is not dict:
        problems.add(place, "must be an object", actual=repr(value))
        return False
    before = len(problems.found)
    for name in fields:
        test, wanted = tests[name]
        if name not in value:
            problems.add(f"{place}.{name}", "is missing", expected=wanted)
        elif not test(value[name]):
            _explain(f"{place}.{name}", value[name], wanted, problems)
    return len(problems.found) == before


def _explain(place: str, value: Any, wanted: str, problems: Problems) -> None:
    path = value.get("path") if type(value) is dict else value
    escape = path_problem(path) if type(path) is str and "path" in wanted else None
    code = "path_escape" if escape else "bad_root"
    message = f"the path {escape}" if escape else f"must be {wanted}"
    problems.add(place, message, expected=wanted, actual=repr(value), code=code)


def _check_funnel(funnel: Any, problems: Problems) -> None:
    for index, stage in enumerate(funnel or []):
        place = f"funnel[{index}]"
        whole = type(stage) is dict and type(stage.get("drops")) is dict
        counts: list[Any] = (
            [stage.get("rows_in"), stage.get("rows_out"), *stage["drops"].values()]
            if whole
            else [None]
        )
        if not whole or not all(_is_count(count) for count in counts):
            problems.add(place, "must have whole rows_in, rows_out and drops", actual=repr(stage))
        elif counts[0] != sum(counts[1:]):
            problems.add(
                place,
                "rows_in must be rows_out plus drops",
                expected=counts[0],
                actual=sum(counts[1:]),
            )


def _check_paths(
    files: Sequence[Mapping[str, Any]], shards: Sequence[Mapping[str, Any]], problems: Problems
) -> None:
    paths = [file["path"] for file in files]
    paths += [shard[kind]["path"] for shard in shards for kind in ("tar", "parquet")]
    for path in _repeats(paths):
        problems.add("shards", "a path is listed twice", actual=path)
    for name in _repeats([shard["tar"]["path"].rpartition("/")[2] for shard in shards]):
        problems.add("shards", "two tars have one base name", actual=name)


def _repeats(values: Sequence[str]) -> Iterator[str]:
    if len(set(values)) == len(values):
        return
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield value
        seen.add(value)


def _check_ranges(
    shards: Sequence[Mapping[str, Any]], sorted_ids: bool, problems: Problems
) -> None:
    for index in range(1, len(shards)):
        before, shard = shards[index - 1], shards[index]
        place = f"shards[{index}]"
        if shard["id"] <= before["id"]:
            problems.add(
                f"{place}.id", "ids must ascend", expected=f"> {before['id']}", actual=shard["id"]
            )
        if shard["key_first"] <= before["key_last"]:
            problems.add(
                f"{place}.key_first",
                "key ranges overlap",
                expected=f"> {before['key_last']}",
                actual=shard["key_first"],
            )
        if sorted_ids and shard["pair_id_min"] <= before["pair_id_max"]:
            problems.add(
                f"{place}.pair_id_min",
                "ranges of pair ids overlap",
                expected=f"> {before['pair_id_max']}",
                actual=shard["pair_id_min"],
            )


def _check_sums(
    root: Mapping[str, Any], shards: Sequence[Mapping[str, Any]], problems: Problems
) -> None:
    sums = {
        "shards": len(shards),
        "samples": sum(shard["samples"] for shard in shards),
        "tar_bytes": sum(shard["tar"]["bytes"] for shard in shards),
        "parquet_bytes": sum(shard["parquet"]["bytes"] for shard in shards),
    }
    for name, value in sums.items():
        told = root.get("totals", {}).get(name)
        if type(told) is not int or told != value:
            problems.add(
                f"totals.{name}", "is not the sum of the shards", expected=value, actual=told
            )
    lines = hashlib.sha256()
    for shard in shards:
        for kind in ("tar", "parquet"):
            lines.update(f"{shard[kind]['sha256']}  {shard[kind]['path']}\n".encode())
    digest = f"sha256:{lines.hexdigest()}"
    if "digest" in root and root["digest"] != digest:
        problems.add(
            "digest", "is not that of the listed shards", expected=digest, actual=root["digest"]
        )
