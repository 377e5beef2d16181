"""The whole path on an object store: archives, ROOT and dataset on S3, as an S3 server plays it.

The server and the clients are in the environment of the peers (`make peers`): no worker needs them.
"""

import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.pipeline.engine.test_runners import START_SECONDS, answers
from tests.whole_run import ROOT, make_job, run_bytes

PYTHON = pathlib.Path(sys.prefix, "peers", "bin", "python")
HAS_S3 = PYTHON.exists() and any(PYTHON.parents[1].glob("lib/python*/site-packages/moto"))
SERVE = "import sys; from moto.server import main; main(sys.argv[1:])"
FILL = """
import pathlib, sys, boto3
client = boto3.client("s3")
client.create_bucket(Bucket="openwit")
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.warc.gz")):
    client.upload_file(str(path), "openwit", f"archives/{path.name}")
"""
GET = """
import sys, fsspec
fsspec.filesystem("s3").get("openwit/run/", sys.argv[1], recursive=True)
"""
TRAIN = """
import sys
from manifests.format.manifest import load
from tests.trainer.data import test_loader as loader
manifest = load(sys.argv[1])
chunks = loader.load(loader.planned(manifest), 0, 6)
print(sum(int(chunk.tensors.valid.sum()) for chunk in chunks), sum(len(c.rows) for c in chunks))
"""
# Few units: what counts is each kind of access, and each costs some requests.
FEW = ("fetch.unit_rows=64", 'engine.mode="memory"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not HAS_S3, reason="moto and s3fs are not installed: make peers"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of processes that see an S3 server on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(ROOT),
    }
    words = [str(PYTHON), "-c", SERVE, "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            end = time.monotonic() + START_SECONDS
            while not answers(port):
                assert time.monotonic() < end
                assert server.poll() is None
                time.sleep(0.05)
            yield environment
        finally:
            server.terminate()


def call(store: Mapping[str, str], *words: str | pathlib.Path) -> str:
    done = subprocess.run(  # noqa: S603 (words of this file)
        [str(PYTHON), *map(str, words)],
        cwd=ROOT,
        env=dict(store),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run(store: Mapping[str, str], config: pathlib.Path, *settings: str) -> None:
    words = [word for setting in (*settings, *FEW) for word in ("--set", setting)]
    call(store, "-m", "pipeline", "run", config, *words)


def test_the_whole_path_on_s3_makes_the_bytes_of_a_local_run(
    store: Mapping[str, str], tmp_path: pathlib.Path
) -> None:
    config = make_job(tmp_path)
    call(store, "-c", FILL, tmp_path)
    run(store, config)
    (tmp_path / "run").rename(tmp_path / "local")
    names = (tmp_path / "archives.txt").read_text().split()
    uris = [f"s3://openwit/archives/{name}" for name in names]
    (tmp_path / "archives.txt").write_text("\n".join(uris))
    for name in names:
        (tmp_path / name).unlink()
    remote = ('root="s3://openwit/run"', 'input.base="s3://openwit/archives"')
    run(store, config, *remote)
    dataset = "s3://openwit/run/dataset"
    call(store, "-m", "manifests", "verify", dataset, "--deep")
    assert call(store, "-c", TRAIN, dataset).split() == ["24", "24"]
    call(store, "-c", GET, tmp_path / "remote")
    assert run_bytes(tmp_path, ["remote"]) == run_bytes(tmp_path, ["local"])
