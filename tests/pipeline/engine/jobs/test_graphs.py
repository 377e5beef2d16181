"""The graphs that any runner gets: their steps, what they are, and how elements are coded."""

import pathlib
import re
from collections.abc import Callable

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.engine.jobs.attempts import Job
from pipeline.engine.jobs.map_job import build_map
from pipeline.engine.jobs.shuffle_job import build_shuffle
from pipeline.engine.steps import MapStep, ShuffleStep
from tests.pipeline.engine.engine_kernels import make_step, make_units, sort_step

GOLDEN = pathlib.Path(__file__).parents[3] / "golden"


def job(step: MapStep | ShuffleStep) -> Job:
    return Job(
        step=step,
        spec="0" * 64,
        root="/root",
        log="/log",
        max_error_rate=0.0,
        bucket_bytes=1 << 20,
        batch_rows=8192,
    )


def graph(build: Callable[[beam.Pipeline], None]) -> str:
    """Return the steps of a pipeline as any runner gets them."""
    options = PipelineOptions(flags=[], runner="PortableRunner", environment_type="LOOPBACK")
    pipeline = beam.Pipeline(options=options)
    build(pipeline)
    proto = pipeline.to_runner_api()
    assert isinstance(proto, beam_runner_api_pb2.Pipeline)
    return steps_of(proto)


def steps_of(proto: beam_runner_api_pb2.Pipeline) -> str:
    """Return the primitive steps of a pipeline, what each one is, and the coders between them."""
    parts = proto.components

    def coder(name: str) -> str:
        found = parts.coders[name]
        inside = ", ".join(map(coder, found.component_coder_ids))
        return found.spec.urn.removeprefix("beam:coder:") + (f"({inside})" if inside else "")

    lines = []
    for step in parts.transforms.values():
        if step.subtransforms or not step.unique_name:
            continue
        outputs = ", ".join(
            coder(parts.pcollections[each].coder_id) for each in step.outputs.values()
        )
        name = re.sub(r"<lambda at [^>]*>", "<lambda>", step.unique_name)  # Beam's own line numbers
        lines.append(f"{name}: {step.spec.urn} -> {outputs}")
    return "\n".join(sorted(lines)) + "\n"


@pytest.mark.parametrize("name", ["map", "shuffle"])
def test_a_jobs_graph_is_the_known_one(tmp_path: pathlib.Path, name: str) -> None:
    units = make_units(tmp_path, [3, 4])
    if name == "map":
        found = graph(lambda pipeline: build_map(pipeline, job(make_step()), units, None))
    else:
        found = graph(lambda pipeline: build_shuffle(pipeline, job(sort_step()), units, [0, 1]))
    assert found == (GOLDEN / f"graph-{name}.txt").read_text()


def test_units_are_not_spread_over_one_process(tmp_path: pathlib.Path) -> None:
    units = make_units(tmp_path, [3, 4])
    alone = graph(lambda pipeline: build_map(pipeline, job(make_step()), units, None, spread=False))
    lines = (GOLDEN / "graph-map.txt").read_text().splitlines()
    assert alone.splitlines() == [line for line in lines if not line.startswith("Spread")]
