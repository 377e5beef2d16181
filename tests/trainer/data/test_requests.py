import dataclasses

import numpy as np
import pyarrow as pa

from manifests.format.schema import ALTERNATE
from tests.trainer.data.conftest import DatasetMaker
from trainer.data.order import hash64
from trainer.data.requests import Request
from trainer.data.shards import ShardTables
from trainer.data.stream import SampleOrder

SEED = 5


def test_texts_are_drawn_anew_in_each_epoch(make_dataset: DatasetMaker) -> None:
    tables = ShardTables(make_dataset([30]), seed=SEED, keep=1)
    order = SampleOrder(tables.samples, tables.read, seed=SEED, global_batch=10, open_shards=1)
    rows = [order.plan(epoch, 0) for epoch in (0, 1)]
    for each in rows:
        captions = each.tables[0].captions.to_pylist()
        alternates = [[{"text": f"{text}, again", "source": "alt"}] for text in captions]
        column = pa.array(alternates, pa.list_(ALTERNATE))
        changed = {0: dataclasses.replace(each.tables[0], alternates=column)}
        drawn = Request.make(dataclasses.replace(each, tables=changed), SEED, "hash").texts
        ids = each.gather(lambda table: table.ids).astype(np.uint64)
        hashes = hash64("text", SEED, int(each.epoch[0]), ids)
        assert drawn == [
            captions[row] + (", again" if draw % 2 else "")
            for row, draw in zip(each.row.tolist(), hashes.tolist(), strict=True)
        ]
        assert 5 < sum("again" in text for text in drawn) < 25
