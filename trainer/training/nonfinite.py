"""What is written down of a step whose loss or gradient is not a finite number."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import torch

from trainer.checkpoint import MODEL, write_tensors
from trainer.data.loader import Chunk
from trainer.distributed import Ranks
from trainer.metrics import plain
from trainer.training.step import Gradients


def write_down(
    folder: pathlib.Path,
    ranks: Ranks,
    module: torch.nn.Module,
    batch: Sequence[Chunk],
    gradients: Gradients,
) -> None:
    """Write the keys and losses of all rows, the norms of all gradients, and the weights.

    Args:
        folder: for the files, which the first rank writes.
        ranks: all call this together.
        module: the model, its gradients in its parameters.
        batch: this rank's chunks.
        gradients: what they gave.
    """
    keys = [str(key) for chunk in batch for key in chunk.rows.gather(lambda table: table.keys)]
    rows = ranks.gather((keys, gradients.row_loss.tolist()))
    if not ranks.is_first:
        return
    report = {
        **dataclasses.asdict(gradients.result),
        "logit_scale": float(module.get_parameter("logit_scale").detach()),
        "keys": [key for part, _ in rows for key in part],
        "row_losses": [loss for _, part in rows for loss in part],
        "gradient_norms": {
            name: float(each.grad.norm())
            for name, each in module.named_parameters()
            if each.grad is not None
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(plain(report), indent=1), encoding="utf-8")
    write_tensors(folder / MODEL, module.state_dict())
