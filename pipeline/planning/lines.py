"""A plan as lines for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from manifests.base.console import bytes_text, table_text


def plan_lines(value: Mapping[str, Any]) -> list[str]:
    """Return a plan's JSON values as lines for people."""
    rows = [
        {
            "stage": stage["stage"],
            "state": _state(stage),
            "rows in": stage["rows_in"],
            "rows out": stage["rows_out"],
            "shuffle": bytes_text(stage["shuffle_bytes"]),
            "memory": bytes_text(stage["memory_bytes"]),
            "disk": bytes_text(stage["disk_bytes"]),
            "CPU-hours": stage["cpu_seconds"] / 3600,
            "numbers": stage["basis"],
        }
        for stage in value["stages"]
    ]
    return [
        *table_text(list(rows[0]), rows).split("\n"),
        "sampled: up to 8 MiB of these inputs went through extract and match here",
        "estimated: from the rows of the stage before and from rates measured on the GIMP manual "
        "and published; right within a factor of a few",
        *_cap_lines(value["caps"]),
        *_site_lines(value["sites"]),
        *(f"note: {note}" for note in value["notes"]),
        *(f"cannot run: {refusal}" for refusal in value["refusals"]),
    ]


def _cap_lines(caps: Sequence[Mapping[str, Any]]) -> list[str]:
    if not caps:
        return []
    rows = [
        {
            "cap": f"{each['cap']} (set)" if each["is_set"] else str(each["cap"]),
            "pairs kept": each["pairs"],
            "to fetch": each["to_fetch"],
            "queries over it": each["head_queries"],
            "tail": f"{each['tail_share']:.1%} of matches",
        }
        for each in caps
    ]
    head = "what select.cap would keep of the pairs that matched, from a sample of them:"
    return _headed(head, rows)


def _site_lines(sites: Sequence[Mapping[str, Any]]) -> list[str]:
    if not sites:
        return []
    rows = [
        {
            "site": each["site"],
            "URLs": each["urls"],
            "over budget": each["over_budget"],
            "hours at least": f"{each['hours']:.2f}",
        }
        for each in sites
    ]
    head = "the largest sites that fetch would ask, and how long their rests alone take:"
    return _headed(head, rows)


def _headed(head: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["", head, *table_text(list(rows[0]), rows).split("\n")]


def _state(stage: Mapping[str, Any]) -> str:
    if stage["is_done"]:
        return "done"
    if stage["units_to_do"] is None:
        return "to do"
    return f"{stage['units_to_do']} units to do, {stage['units_to_reuse']} done"
