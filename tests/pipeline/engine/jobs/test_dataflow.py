"""The job as Dataflow would get it, built by its runner and not sent: needs `apache-beam[gcp]`."""

import functools
import pathlib
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.engine.jobs.map_job import build_map
from pipeline.engine.jobs.shuffle_job import build_shuffle
from pipeline.engine.options import parse_beam_options
from tests.pipeline.engine.engine_kernels import make_step, make_units, sort_step
from tests.pipeline.engine.jobs.test_graphs import GOLDEN, job, steps_of

OPTIONS = (
    "--runner=DataflowRunner",
    "--dry_run=True",
    "--project=project",
    "--region=europe-west4",
    "--temp_location=gs://bucket/tmp",
    "--staging_location=gs://bucket/staging",
    "--job_name=job",
    "--no_auth",
    "--sdk_location=container",
)


def dry_run(build: Any) -> Any:
    """Let the runner prepare a job; return it with the graph that it would send."""
    pipeline = beam.Pipeline(options=PipelineOptions(flags=[], **parse_beam_options(OPTIONS)))
    build(pipeline)
    made: Any = pipeline.run()  # its type tells nothing of Dataflow's
    return made.job


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Google's own libraries
@pytest.mark.parametrize("name", ["map", "shuffle"])
def test_dataflow_gets_the_known_graph(tmp_path: pathlib.Path, name: str) -> None:
    reason = "Google's libraries are not installed: pip install 'apache-beam[gcp]'"
    client = "apache_beam.runners.dataflow.internal.apiclient"
    pytest.importorskip(client, reason=reason, exc_type=ImportError)
    units = make_units(tmp_path, [3, 4])
    if name == "map":
        build = functools.partial(build_map, job=job(make_step()), units=units, seconds=None)
    else:
        build = functools.partial(build_shuffle, job=job(sort_step()), units=units, buckets=[0, 1])
    made = dry_run(build)
    lines = (GOLDEN / f"graph-{name}.txt").read_text().splitlines()
    known = [line for line in lines if "/MaybeReshuffle:" not in line]  # empty, so left out
    assert steps_of(made.proto_pipeline).splitlines() == known
    environments = made.proto_pipeline.components.environments.values()
    assert {each.urn for each in environments} == {"beam:env:docker:v1"}
