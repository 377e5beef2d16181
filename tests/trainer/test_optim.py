import pytest
import torch

from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.optim import (
    Ema,
    EmaConfig,
    NonfiniteConfig,
    OptimConfig,
    ScheduleConfig,
    clamp_logit_scale,
    make_optimizer,
    moments,
    restore_moments,
)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    model = build(ModelConfig(name="micro-64"), seed=0, precision="fp32", crop_scale=(0.9, 1))
    return model.towers.module


@pytest.mark.parametrize(("step", "lr"), [(0, 5e-5), (9, 5e-4), (55, 2.5e-4), (99, 1.52293e-7)])
def test_the_cosine_has_the_values_of_the_specification(step: int, lr: float) -> None:
    schedule = ScheduleConfig(kind="cosine", warmup_steps=10)
    assert 5e-4 * schedule.factor(step, 100) == pytest.approx(lr, rel=1e-5)


def test_a_constant_rate_stays_and_wsd_ends_linearly() -> None:
    const = ScheduleConfig(kind="const", warmup_steps=0)
    assert {const.factor(step, 100) for step in range(100)} == {1.0}
    wsd = ScheduleConfig(kind="wsd", warmup_steps=2, cooldown_fraction=0.2)
    factors = [wsd.factor(step, 100) for step in (0, 1, 2, 79, 80, 90, 99)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 0.5, 0.05])


def test_warm_up_takes_at_most_a_tenth() -> None:
    schedule = ScheduleConfig(warmup_steps=2000)
    assert schedule.factor(9, 100) == 1.0
    assert schedule.factor(8, 100) == 0.9
    assert schedule.factor(0, 5) == 1.0


@pytest.mark.parametrize("kind", ["cosine", "const", "wsd"])
def test_peer_has_the_same_schedules(kind: str) -> None:
    scheduler = pytest.importorskip("open_clip_train.scheduler")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    adjust = {
        "cosine": lambda: scheduler.cosine_lr(optimizer, 1.0, 10, 100),
        "const": lambda: scheduler.const_lr(optimizer, 1.0, 10, 100),
        "wsd": lambda: scheduler.const_lr_cooldown(optimizer, 1.0, 10, 100, 20),
    }[kind]()
    ours = ScheduleConfig.factor
    schedule = ScheduleConfig(kind=kind, warmup_steps=10)  # type: ignore[arg-type]
    for step in range(100):
        assert ours(schedule, step, 100) == pytest.approx(adjust(step), rel=1e-12)


def test_only_tensors_of_two_dimensions_decay(module: torch.nn.Module) -> None:
    decayed, plain = make_optimizer(module, OptimConfig(weight_decay=0.1)).param_groups
    sizes = [
        (len(group["params"]), sum(each.numel() for each in group["params"]))
        for group in (decayed, plain)
    ]
    assert sizes == [(26, 7_443_584), (48, 9_217)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_moments_are_saved_by_name_and_restored() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(layer, OptimConfig())

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(layer(torch.ones(3)).sum())
        optimizer.step()

    step()
    saved = {name: each.clone() for name, each in moments(layer, optimizer).items()}
    assert set(saved) == {
        f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in ("weight", "bias")
    }
    weights = {name: each.clone() for name, each in layer.state_dict().items()}
    step()
    expected = layer.weight.clone()
    layer.load_state_dict(weights)
    optimizer = make_optimizer(layer, OptimConfig())
    restore_moments(layer, optimizer, saved, 1)
    step()
    assert torch.equal(layer.weight, expected)


@pytest.mark.parametrize(("before", "after"), [(-1.0, 0.0), (3.0, 3.0), (9.0, 4.605170)])
def test_the_temperature_stays_between_1_and_a_hundredth(before: float, after: float) -> None:
    module = torch.nn.Module()
    module.logit_scale = torch.nn.Parameter(torch.tensor(before))
    clamp_logit_scale(module)
    assert float(module.logit_scale.detach()) == pytest.approx(after)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
        ({"eps": float("nan")}, "eps must be above 0, got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimConfig(**values)  # type: ignore[arg-type]


def test_an_average_follows_slowly_but_faster_at_first() -> None:
    layer = torch.nn.BatchNorm1d(1)
    torch.nn.init.zeros_(layer.weight)
    ema = Ema(layer, 0.9)
    torch.nn.init.ones_(layer.weight)
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.fill_(7)
    ema.update(layer, 0)  # keeps 1/10
    assert ema.tensors["weight"].tolist() == pytest.approx([0.9])
    assert ema.tensors["num_batches_tracked"] == 7
    torch.nn.init.zeros_(layer.weight)
    ema.update(layer, 1000)  # keeps 0.9, less than 1001/1010
    assert ema.tensors["weight"].tolist() == pytest.approx([0.81])
    other = Ema(layer, 0.9)
    other.restore(ema.tensors)
    assert all(torch.equal(each, other.tensors[name]) for name, each in ema.tensors.items())


def test_other_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="decay must be from 0 to below 1, got 1"):
        EmaConfig(decay=1.0)
    with pytest.raises(ValueError, match="max_skips must be at least 1, got 0"):
        NonfiniteConfig(max_skips=0)


def test_a_schedule_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_steps must be at least 0, got -1"):
        ScheduleConfig(warmup_steps=-1)
    with pytest.raises(ValueError, match="cooldown_fraction must be from 0 to 1, got 2"):
        ScheduleConfig(cooldown_fraction=2)
