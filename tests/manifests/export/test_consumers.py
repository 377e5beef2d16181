"""Exports, read by the tools they are for.

The tools have an environment of their own beside the project's (`make peers`): pandas, which they
bring, makes every process that uses pyarrow start half a second later.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from manifests.export import export
from manifests.format import Manifest
from manifests.format.join import rows

MakeDataset = Callable[..., Manifest]
PYTHON = pathlib.Path(sys.prefix, "peers", "bin", "python")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.timeout(240),  # other programs, on a machine that may be busy
    pytest.mark.skipif(not PYTHON.exists(), reason="the tools are not installed: make peers"),
]


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(25, 10)


@pytest.fixture
def consume(source: Manifest, tmp_path: pathlib.Path) -> Callable[..., Any]:
    """Run lines of Python in the dataset's folder, in the tools' environment; return `found`."""

    def run(code: str) -> Any:
        home = str(tmp_path / "home")
        names = ("HOME", "HF_HOME", "CROISSANT_CACHE", "TMPDIR")
        (tmp_path / "home").mkdir()
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(  # noqa: S603 (our words)
            [PYTHON, "-W", "ignore", "-c", f"{code}\nimport json; print(json.dumps(found))"],
            cwd=source.root,
            env={"PATH": os.environ["PATH"]} | offline | dict.fromkeys(names, home),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def column(manifest: Manifest, name: str) -> list[Any]:
    return [each for table in rows(manifest) for each in table[name].to_pylist()]


def images(manifest: Manifest) -> list[str]:
    return column(manifest, "sha256")


def test_mlcroissant_finds_no_fault_and_loads_rows_and_images(
    source: Manifest, consume: Callable[..., Any]
) -> None:
    export(source, "croissant")
    found = consume("""
import mlcroissant
dataset = mlcroissant.Dataset("croissant.json")
issues = dataset.metadata.ctx.issues
plain = lambda value: value.decode() if isinstance(value, bytes) else value
rows = [{name.partition("/")[2]: plain(value) for name, value in row.items()
         if name in ("rows/key", "rows/caption", "rows/sha256", "rows/width")}
        for row in dataset.records("rows")]
images = [(plain(row["images/name"]), row["images/image"].size)
          for row in dataset.records("images")]
found = {"errors": list(issues.errors), "rows": rows, "images": sorted(images)}
""")
    assert found["errors"] == []
    names = ("key", "caption", "sha256", "width")
    expected = zip(*(column(source, name) for name in names), strict=True)
    assert found["rows"] == [dict(zip(names, row, strict=True)) for row in expected]
    assert found["images"] == [[f"{key}.jpg", [24, 16]] for key in column(source, "key")]


def test_wids_reads_the_first_and_the_last_sample(
    source: Manifest, consume: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    export(source, "wids")
    found = consume(f"""
import hashlib, wids
dataset = wids.ShardListDataset("wids.json", cache_dir={str(tmp_path / "cache")!r},
                                transformations=[])
def shown(sample):
    return [sample[".txt"].read().decode(), hashlib.sha256(sample[".jpg"].read()).hexdigest()]
found = [len(dataset), shown(dataset[0]), shown(dataset[len(dataset) - 1])]
""")
    captions, digests = column(source, "caption"), images(source)
    assert found == [25, [captions[0], digests[0]], [captions[24], digests[24]]]


def test_datasets_loads_the_folder_as_the_card_says(
    source: Manifest, consume: Callable[..., Any]
) -> None:
    export(source, "hf-card")
    found = consume("""
import datasets, huggingface_hub, os
card = huggingface_hub.DatasetCard.load("README.md")
loaded = datasets.load_dataset(os.getcwd(), "samples", split="train")
found = {
    "configs": [each["config_name"] for each in card.data.to_dict()["configs"]],
    "keys": [row["__key__"] for row in loaded],
    "texts": [row["txt"] for row in loaded],
    "uids": [row["json"]["uid"] for row in loaded],
    "sizes": [row["jpg"].size for row in loaded],
}
""")
    assert found == {
        "configs": ["samples"],
        "keys": column(source, "key"),
        "texts": column(source, "caption"),
        "uids": column(source, "pair_id"),
        "sizes": [[24, 16]] * 25,
    }


def test_open_clip_train_reads_every_sample_once_an_epoch(
    source: Manifest, consume: Callable[..., Any]
) -> None:
    export(source, "sizes")
    found = consume("""
import argparse, numpy
from open_clip_train.data import get_dataset_size, get_wds_dataset
shards = "shards/{00000000..00000002}.tar"
args = argparse.Namespace(train_data=shards, train_data_upsampling_factors=None, world_size=1,
    train_num_samples=None, dataset_resampled=False, batch_size=5, workers=0, seed=0)
info = get_wds_dataset(args, preprocess_img=lambda image: numpy.asarray(image.convert("RGB")),
                       is_train=True, tokenizer=lambda text: [text])
texts, shapes = [], set()
for images, batch in info.dataloader:
    texts += list(batch)
    shapes.add(tuple(images.shape[1:]))
found = [get_dataset_size(shards), info.dataloader.num_samples, sorted(texts), sorted(shapes)]
""")
    assert found == [[25, 3], 25, sorted(column(source, "caption")), [[16, 24, 3]]]
