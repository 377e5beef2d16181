import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.records import Finding
from manifests.inspection.findings import Findings


def make(code: str, shard: int | None = None, path: str = "") -> Finding:
    return Finding(code=code, message="", shard=shard, path=path)


@given(st.lists(st.integers(0, 50), unique=True), st.integers(0, 10))
def test_the_first_findings_are_kept_in_any_order_of_arrival(shards: list[int], limit: int) -> None:
    findings = Findings(limit)
    for shard in shards:
        findings.add([make("x", shard)])
    assert [finding.shard for finding in findings.kept] == sorted(shards)[:limit]
    assert (len(findings), bool(findings)) == (len(shards), bool(shards))


def test_codes_are_counted_above_the_limit_too() -> None:
    findings = Findings(1)
    findings.add([make("b"), make("a"), make("a")])
    findings.merge({"c": 5}, [make("c")])
    assert findings.by_code == {"a": 2, "b": 1, "c": 5}
    assert [entry["code"] for entry in findings.to_json()] == ["a"]


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be at least 0, got -1"):
        Findings(-1)
