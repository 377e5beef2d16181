"""The step loop on real towers: what stops it, what it keeps, and that it goes on bit for bit."""

import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import re
import signal
from collections.abc import Callable, Iterator, Sequence

import pyarrow.parquet as pq
import pytest

from manifests.base.errors import AccountingError, OpenwitError
from manifests.format import Manifest
from tests.trainer.toy import events, losses, plan_for, write_dataset
from trainer import jobs
from trainer.data.loader import Chunk
from trainer.data.stream import SampleOrder
from trainer.errors import (
    NonFiniteError,
    ResumeRefusedError,
    StoppedError,
    TooManyBadSamplesError,
)
from trainer.training import loop, saver
from trainer.training.step import Gradients, Stepper

AtStep = Callable[[int, Callable[[], None]], None]
DROPOUT = "train.model.name=nano-16"
pytestmark = pytest.mark.usefixtures("nano")


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Call it with a step and what to do when its line appears."""
    actions: dict[int, Callable[[], None]] = {}

    def say(line: str) -> None:
        found = re.match(r"train step (\d+)/", line)
        if found and int(found[1]) in actions:
            actions.pop(int(found[1]))()

    monkeypatch.setattr(loop, "say", say)
    return actions.__setitem__


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def model_bytes(run: pathlib.Path) -> list[bytes]:
    latest = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    return [(latest / name).read_bytes() for name in ("model.safetensors", "optim.safetensors")]


@pytest.mark.parametrize("last", ["carry", "drop"])
@pytest.mark.parametrize("micro_batch", [0, 4])
def test_a_stopped_run_goes_on_bit_for_bit(
    toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep, last: str, micro_batch: int
) -> None:
    plan = plan_for(
        toy,
        DROPOUT,
        "train.samples=112",
        "train.data.open_shards=2",
        f"train.data.last={last}",
        f"train.micro_batch={micro_batch}",
    )
    jobs.train(plan, tmp_path / "whole")
    for step in (4, 7):
        at_step(step, send(signal.SIGTERM))
        with pytest.raises(StoppedError, match=f"stopped by SIGTERM after step {step} of 14"):
            jobs.train(plan, tmp_path / "parts")
    jobs.train(plan, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 14
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")
    epochs = [
        [(each["epoch"], each["coverage"]) for each in events(tmp_path / run, "epoch")]
        for run in ("whole", "parts")
    ]
    assert epochs[0] == epochs[1]
    assert [epoch for epoch, _ in epochs[0]] == [0, 1]


def test_siglip_with_an_average_goes_on_bit_for_bit(
    toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep
) -> None:
    plan = plan_for(
        toy,
        DROPOUT,
        *("train.samples=64", "train.loss.kind=siglip", "train.ema.decay=0.99"),
        *("train.model.patch_dropout=0.25", "train.data.text=hash", "train.optim.grad_clip=1.0"),
    )
    jobs.train(plan, tmp_path / "whole")
    at_step(3, send(signal.SIGTERM))
    with pytest.raises(StoppedError):
        jobs.train(plan, tmp_path / "parts")
    jobs.train(plan, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    folders = [tmp_path / run / "checkpoints" / "step_000000008" for run in ("whole", "parts")]
    for name in ("model.safetensors", "optim.safetensors", "ema.safetensors"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert (folders[0] / "ema.safetensors").read_bytes() != (
        folders[0] / "model.safetensors"
    ).read_bytes()
    line = events(tmp_path / "whole", "train")[-1]
    assert line["logit_bias"] == pytest.approx(-10, abs=0.1)
    assert line["loss_i2t"] == pytest.approx(line["loss_t2i"], rel=1e-6)


def test_a_signal_is_written_down_and_exits_with_75(
    toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep
) -> None:
    at_step(2, send(signal.SIGINT))
    with pytest.raises(StoppedError) as caught:
        jobs.train(plan_for(toy, DROPOUT), tmp_path / "run")
    assert caught.value.exit_code == 75
    status = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (status["status"], status["exit_code"]) == ("stopped", 75)
    assert "stopped by SIGINT after step 2" in status["reason"]
    assert [each["name"] for each in events(tmp_path / "run", "signal")] == ["SIGINT"]
    assert [each["status"] for each in events(tmp_path / "run", "end")] == ["stopped"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_ends_at_once(
    toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep
) -> None:
    def twice() -> None:
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    at_step(2, twice)
    with pytest.raises(KeyboardInterrupt):
        jobs.train(plan_for(toy, DROPOUT), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exit_code"] == 130


def test_usr1_saves_and_goes_on(toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep) -> None:
    at_step(3, send(signal.SIGUSR1))
    jobs.train(plan_for(toy, DROPOUT, "train.samples=48"), tmp_path / "run")
    assert [each["step"] for each in events(tmp_path / "run", "checkpoint")] == [3, 6]


def test_chunks_train_as_the_whole_batch_does(toy: Manifest, tmp_path: pathlib.Path) -> None:
    for chunk in (0, 4):
        plan = plan_for(toy, "train.samples=16", f"train.micro_batch={chunk}")
        jobs.train(plan, tmp_path / str(chunk))
    assert losses(tmp_path / "4") == pytest.approx(losses(tmp_path / "0"), rel=1e-5)


def test_the_loss_falls(toy: Manifest, tmp_path: pathlib.Path) -> None:
    jobs.train(plan_for(toy, DROPOUT, "train.samples=480", "train.optim.lr=1e-2"), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert sum(found[step] for step in (58, 59, 60)) < 0.7 * sum(found[step] for step in (1, 2, 3))


def test_lines_of_training_have_the_mean_since_the_last(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    jobs.train(plan_for(toy, DROPOUT, "train.samples=48"), tmp_path / "each")
    jobs.train(
        plan_for(toy, DROPOUT, "train.samples=48", "train.log.every_s=3600"), tmp_path / "few"
    )
    each, few = losses(tmp_path / "each"), losses(tmp_path / "few")
    assert list(few) == [1, 6]
    assert few[1] == each[1]
    assert few[6] == pytest.approx(sum(each[step] for step in range(2, 7)) / 5, rel=1e-12)
    line = events(tmp_path / "few", "train")[-1]
    assert set(line) == {
        *("event", "step", "time", "samples", "epoch", "loss", "loss_i2t", "loss_t2i"),
        *("top1_i2t", "top1_t2i", "lr", "logit_scale", "grad_norm", "bad", "peak_bytes"),
        *("samples_per_s", "data_wait_share", "step_ms_p50", "step_ms_p95"),
    }
    assert (line["samples"], line["epoch"]) == (48, 0)


def test_bad_samples_are_masked_and_written_down_once(
    tmp_path: pathlib.Path, at_step: AtStep
) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 10, {5: b"no image", 9: " "})
    plan = plan_for(dataset, DROPOUT, "train.epochs=2", "train.checkpoint.every_steps=2")
    jobs.train(plan, tmp_path / "run")
    lines = (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert sorted((each["epoch"], each["reason"]) for each in records) == [
        (epoch, reason) for epoch in (0, 1) for reason in ("decode_error", "empty_text")
    ]
    assert set(records[0]) == {"pair_id", "key", "shard", "epoch", "step", "reason", "detail"}
    assert sum(each["samples"] for each in events(tmp_path / "run", "bad")) == 4
    # Going back to a checkpoint and doing steps again adds no line.
    jobs.train(plan, tmp_path / "run", resume=str(tmp_path / "run/checkpoints/step_000000002"))
    assert (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines() == lines


def test_masking_samples_is_removing_them(tmp_path: pathlib.Path) -> None:
    bad: dict[int, bytes | str] = {4: b"no image", 5: b"", 6: " ", 7: ""}
    for count, changes in ((8, bad), (4, {})):
        dataset = write_dataset(tmp_path / f"d{count}", count, 8, changes)
        plan = plan_for(
            dataset, f"train.global_batch={count}", "train.epochs=1", "train.data.last=drop"
        )
        jobs.train(plan, tmp_path / f"run{count}")
    (masked,), (removed,) = (events(tmp_path / f"run{count}", "train") for count in (8, 4))
    for name in ("loss", "loss_i2t", "loss_t2i", "top1_i2t", "top1_t2i", "grad_norm"):
        assert masked[name] == pytest.approx(removed[name], rel=1e-5), name


def test_too_many_bad_samples_stop_the_run(tmp_path: pathlib.Path) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 10, dict.fromkeys(range(4), b""))
    plan = plan_for(dataset, DROPOUT, "train.bad.max_rate=0.1", "train.bad.min_seen=20")
    with pytest.raises(TooManyBadSamplesError, match="bad samples: 4 of 24, max_rate is"):
        jobs.train(plan, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exit_code"] == 5
    assert len((tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()) == 4


def test_a_loss_that_is_no_number_stops_before_the_step(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    run = tmp_path / "run"
    jobs.train(plan_for(toy, DROPOUT, "train.samples=16"), run)
    before = model_bytes(run)
    plan = plan_for(toy, DROPOUT, "train.samples=80", "train.optim.lr=1e30")
    with pytest.raises(NonFiniteError, match=r"step 4: loss nan.*last checkpoint") as caught:
        jobs.train(plan, run)
    assert caught.value.exit_code == 4
    assert model_bytes(run) == before
    report = json.loads((run / "nonfinite" / "step_4" / "report.json").read_text())
    assert report["loss"] == "nan"
    assert len(report["keys"]) == len(report["row_losses"]) == 8
    assert "visual.conv1.weight" in report["gradient_norms"]
    assert (run / "nonfinite" / "step_4" / "model.safetensors").exists()
    assert events(run, "nonfinite")[0]["loss"] == "nan"
    history = events(run, "start")[-1]["history"]
    assert {"step": 2, "setting": "optim.lr", "before": 5e-4, "after": 1e30} in history


def test_steps_that_are_no_numbers_can_be_left_out(
    toy: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = Stepper.backward
    broken = {2, 4, 5}

    def sometimes(self: Stepper, number: int, batch: Sequence[Chunk]) -> Gradients:
        found = backward(self, number, batch)
        if number not in broken:
            return found
        result = dataclasses.replace(found.result, grad_norm=math.nan)
        return dataclasses.replace(found, result=result)

    monkeypatch.setattr(Stepper, "backward", sometimes)
    skip = ("train.nonfinite.policy=skip", "train.nonfinite.max_skips=2")
    plan = plan_for(toy, DROPOUT, "train.samples=64", *skip)
    jobs.train(plan, tmp_path / "run")
    assert [each["step"] for each in events(tmp_path / "run", "nonfinite")] == [3, 5, 6]
    state = (tmp_path / "run" / "checkpoints" / "step_000000008" / "state.json").read_text()
    assert json.loads(state)["skipped"] == 3
    broken |= {3}
    with pytest.raises(NonFiniteError, match=r"step 5: loss .*, gradient norm nan"):
        jobs.train(plan, tmp_path / "other")  # three in a row


def test_a_balanced_training_uses_what_is_drawn(tmp_path: pathlib.Path) -> None:
    dataset = write_dataset(tmp_path / "d", 42, 10, with_queries=True)
    settings = (DROPOUT, "train.balance.mode=online", "train.balance.t=3", "train.samples=96")
    plan = plan_for(dataset, *settings)
    assert plan.expected == pytest.approx(21)  # 7 queries of 6 pairs each
    assert "# about 21 of them in an epoch: 7 of 7 queries have more than 3 pairs" in plan.lines()
    jobs.train(plan, tmp_path / "run")
    ended = events(tmp_path / "run", "epoch")
    assert len(ended) >= 3
    assert len({each["coverage"] for each in ended}) == len(ended)
    table = pq.read_table(tmp_path / "run" / "queries" / "step_12.parquet")
    assert sum(table["seen"].to_pylist()) == 96
    last = events(tmp_path / "run", "queries")[-1]
    assert (last["head"]["seen"], last["tail"]["seen"]) == (96, 0)
    assert last["1-9"]["loss"] == pytest.approx(
        sum(losses(tmp_path / "run").values()) / 12, rel=1e-6
    )
    every = plan_for(dataset, DROPOUT, "train.samples=96")
    with pytest.raises(ResumeRefusedError, match="balance: the checkpoint has"):
        jobs.train(every, tmp_path / "run")


def test_a_damaged_shard_is_found_when_it_is_first_used(tmp_path: pathlib.Path) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 8)
    path = pathlib.Path(dataset.root, "shards", "00000001.tar")
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    late = ("train.data.verify_full_below_gb=0", "train.data.open_shards=1")
    with pytest.raises(OpenwitError, match=r"00000001.tar: another content: expected \w+, found"):
        jobs.train(plan_for(dataset, DROPOUT, *late), tmp_path / "run")
    assert events(tmp_path / "run", "start")


def test_a_sample_used_twice_stops_the_run_at_the_end_of_its_epoch(
    toy: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = SampleOrder.batches

    def stutter(self: SampleOrder, *args: object, **kwargs: object) -> Iterator[object]:  # type: ignore[type-arg]
        found = batches(self, *args, **kwargs)  # type: ignore[arg-type]
        first = next(found)
        yield from (first, first)
        next(found)
        yield from found

    monkeypatch.setattr(SampleOrder, "batches", stutter)
    with pytest.raises(AccountingError, match="epoch 0: the samples used sum up to") as caught:
        jobs.train(plan_for(toy, DROPOUT), tmp_path / "run")
    assert caught.value.exit_code == 1
    assert events(tmp_path / "run", "end")[0]["step"] == 6


def test_a_full_disk_is_endured_twice(
    toy: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    said = list[str]()
    monkeypatch.setattr(saver, "save", fail)
    monkeypatch.setattr(saver, "say", said.append)
    plan = plan_for(toy, DROPOUT, "train.checkpoint.every_steps=2")
    with pytest.raises(OpenwitError, match="no checkpoint could be written: No space left"):
        jobs.train(plan, tmp_path / "run")
    assert sum(line.startswith("warning:") for line in said) == 2
    assert events(tmp_path / "run", "end")[0]["step"] >= 6  # it fails in the background


def test_a_data_worker_that_dies_is_named_with_the_likely_cause(
    toy: Manifest, tmp_path: pathlib.Path, at_step: AtStep
) -> None:
    def kill_worker() -> None:
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)

    at_step(2, kill_worker)
    with pytest.raises(OpenwitError, match="data worker: ended with exit code -9: likely the mem"):
        jobs.train(plan_for(toy, DROPOUT, "train.data.workers=1"), tmp_path / "run")
    assert events(tmp_path / "run", "end")[0]["status"] == "failed"
