import pytest

from pipeline.dataset.tables import funnel, public_uri
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import UnitRecord


def make_step(
    step: str, stage: str, rows_in: int, drops: dict[str, int], accounts: bool = True
) -> StageRecord:
    unit = UnitRecord(
        unit="0",
        spec="0" * 64,
        inputs=(),
        rows_in=rows_in,
        rows_out=rows_in - sum(drops.values()),
        drops=drops,
        files=(),
    )
    return StageRecord(
        root="",
        step=step,
        stage=stage,
        version=1,
        spec="0" * 64,
        parameters={},
        upstream=(),
        accounts=accounts,
        units=(unit,),
    )


def test_steps_of_a_stage_are_one_line_of_the_funnel() -> None:
    history = [
        make_step("match-rules", "match", 10, {"language": 2}),
        make_step("match-counts", "match", 99, {"x": 1}, accounts=False),
        make_step("match", "match", 8, {"duplicate_pair": 1, "language": 3}),
        make_step("dedup", "dedup", 4, {}),
    ]
    assert funnel(history) == [
        {
            "stage": "match",
            "rows_in": 10,
            "rows_out": 4,
            "drops": {"duplicate_pair": 1, "language": 5},
            "failed_units": 0,
        },
        {"stage": "dedup", "rows_in": 4, "rows_out": 4, "drops": {}, "failed_units": 0},
    ]


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("warc/a.warc.gz", "warc/a.warc.gz"),
        ("a?b@c", "a?b@c"),
        ("https://example.com/a/b.gz?sig=x", "https://example.com/a/b.gz"),
        ("https://u:p@example.com/a", "https://example.com/a"),
        ("s3://bucket/key@2x.gz", "s3://bucket/key@2x.gz"),
        ("https://example.com?sig=a/b@c", "https://example.com"),
    ],
)
def test_inputs_are_named_without_credentials(name: str, public: str) -> None:
    assert public_uri(name) == public
