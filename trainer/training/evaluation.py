"""Evaluations while a training goes on, and at its end."""

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from manifests.base import storage
from trainer.distributed import Ranks
from trainer.evals.features import evaluating
from trainer.evals.measure import measure
from trainer.metrics import Metrics
from trainer.model.towers import Model
from trainer.optim import Ema
from trainer.plan import Plan
from trainer.run_dir import RunDir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """Measures the model on each set of the plan; changes nothing of the training."""

    plan: Plan
    ranks: Ranks
    model: Model
    ema: Ema | None
    """What is measured in place of the weights, if there is one."""
    folder: RunDir
    metrics: Metrics

    def run(self, step: int) -> None:
        """Write what is found after `step` steps to `eval/`, and as an event. All ranks call it."""
        settings, module = self.plan.settings, self.model.towers.module
        # No workers: to fork a process whose threads plan and write may hang the child.
        data = dataclasses.replace(settings.data, workers=0)
        found = {}
        for loaded in self.plan.evals:
            with averaged(module, self.ema), evaluating(module):
                found[loaded.name] = measure(
                    loaded,
                    self.model,
                    data,
                    most=settings.eval.max_retrieval,
                    ranks=self.ranks,
                )
        if not found or not self.ranks.is_first:
            return
        facts = {"step": step, "weights": "ema" if self.ema else "model"}
        for name, measured in found.items():
            measured.write(storage.join(str(self.folder.evaluations), name), facts)
        self.metrics.event("eval", step, **{name: each.headline() for name, each in found.items()})


@contextlib.contextmanager
def averaged(module: torch.nn.Module, ema: Ema | None) -> Iterator[None]:
    """Give a module its moving average for the block, if there is one."""
    if ema is None:
        yield
        return
    before = {name: each.detach().clone() for name, each in module.state_dict().items()}
    module.load_state_dict(ema.tensors)
    try:
        yield
    finally:
        module.load_state_dict(before)
