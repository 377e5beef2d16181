"""The job behind `openwit-train run`: a training from its plan to its end."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from manifests.base.config import to_tables
from manifests.base.console import progress, say
from manifests.base.errors import ExitCode, OpenwitError, RefusedError
from manifests.format.manifest import Manifest
from manifests.format.records import Finding
from trainer.checkpoint import Checkpoint, newest, open_checkpoint
from trainer.config import to_toml
from trainer.data.shards import Verify, check_shard, refuse_findings, verify_level
from trainer.distributed import ALONE, Ranks, joined
from trainer.errors import ResumeRefusedError, StoppedError
from trainer.plan import Plan, changed_settings
from trainer.run_dir import RunDir, claim
from trainer.training.report import write_report
from trainer.training.start import Start, run_training


def train(plan: Plan, output: pathlib.Path, *, resume: str = "auto", init_from: str = "") -> str:
    """Train, and return in a line how it ended.

    Args:
        plan: what to do.
        output: RUN, a new folder or one that this function began.
        resume: `auto` goes on from the latest checkpoint of RUN, `never` begins, and anything else
            is a checkpoint, or another RUN, to go on from.
        init_from: a checkpoint or RUN whose weights a run takes that begins.

    Raises:
        OpenwitError: of the kind that `trainer.errors` names for each end.
    """
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(plan.settings.timeout_s))
        folder = ranks.first(lambda: stack.enter_context(claim(output)))
        start = ranks.first(lambda: _find_start(folder, resume))
        history: tuple[Mapping[str, Any], ...] = ()
        if start:
            changed = changed_settings(start.state, plan.identity, to_tables(plan.settings))
            history = (*start.state.history, *changed)
            if start.state.step >= plan.steps:
                if resume == "auto" and ranks.is_first:  # a kill may have come before it was said
                    folder.write_status("finished")
                return f"{output}: already finished: {start.state.step} of {plan.steps} steps done"
        with (
            _end_written(plan, folder) if ranks.is_first else contextlib.nullcontext(),
            ranks.explained(),
        ):
            sets = [plan.manifest, *(each.manifest for each in plan.evals)]
            for manifest in {each.digest: each for each in sets}.values():
                verify(manifest, verify_level(manifest, plan.settings.data), ranks)
            if ranks.is_first:
                folder.write_config(to_toml(plan.settings))
            run_training(plan, ranks, folder, Start(start, history, init_from))
    return f"{output}: finished: {plan.steps} steps"


@contextlib.contextmanager
def _end_written(plan: Plan, folder: RunDir) -> Iterator[None]:
    """Write into run.json that the block runs, and how it ended; then the report."""
    folder.write_status("running")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, (StoppedError, KeyboardInterrupt))
        with contextlib.suppress(OSError):  # a full disk must not hide the error before it
            folder.write_status(
                "stopped" if stopped else "failed",
                str(error) or type(error).__name__,
                _exit_code(error),
            )
            _report(plan, folder)
        raise
    folder.write_status("finished")
    _report(plan, folder)


def _report(plan: Plan, folder: RunDir) -> None:
    if not folder.metrics.exists():  # it ended before it began
        return
    try:
        write_report(plan.manifest, folder)
    except (OpenwitError, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        say(f"warning: {folder.report}: not written: {error}")  # the training is worth more


def verify(manifest: Manifest, level: Verify, ranks: Ranks = ALONE) -> None:
    """Compare all shards with the manifest; the ranks of a machine share them out.

    Raises:
        OpenwitError: naming what is not as recorded.
    """
    mine = manifest.shards[ranks.local_rank :: ranks.local_world]
    findings, samples = list[Finding](), 0
    with progress("verify", len(mine)) as shown:
        for done, shard in enumerate(mine, 1):
            findings += check_shard(manifest, shard, level)
            samples += shard.samples
            shown.update(done, samples)
    ranks.wait_for_all(
        f"verified {manifest.digest}"
    )  # reading may take longer than an exchange may
    # What several machines have found is told once.
    found = sorted({str(each): each for part in ranks.gather(findings) for each in part}.items())
    ranks.first(lambda: refuse_findings(manifest, [each for _, each in found]))


def _find_start(folder: RunDir, resume: str) -> Checkpoint | None:
    if resume == "never":
        if folder.checkpoints.exists():
            raise RefusedError(
                f"{folder.path}: has checkpoints: choose another --output, or --resume auto"
            )
        return None
    try:
        if resume == "auto":
            return newest(folder.checkpoints)
        return open_checkpoint(pathlib.Path(resume))
    except OpenwitError as error:
        raise ResumeRefusedError(str(error)) from None


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return error.exit_code if isinstance(error, OpenwitError) else ExitCode.UNFINISHED
