"""Checkpoints: folders that appear whole, are checked before use, and hold no pickle.

checkpoints/step_000001000/model.safetensors    loads in open_clip as it is
                           optim.safetensors    AdamW's moments, by parameter
                           ema.safetensors      the weights' moving average, if there is one
                           queries.safetensors  sums by query, if they are kept
                           state.json           where the run stood; bytes and sha256 of the others
            latest                              the name of the newest one
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import typing
from collections.abc import Mapping
from typing import Any

from manifests.base import storage
from manifests.base.console import say
from manifests.base.errors import OpenwitError
from manifests.base.version import __version__

if typing.TYPE_CHECKING:  # a configuration is checked without torch, which takes seconds to import
    import torch

KIND = "openwit-checkpoint"
SCHEMA_VERSION = 2
FOLDER = "checkpoints"
MODEL, OPTIM, STATE = "model.safetensors", "optim.safetensors", "state.json"
EMA, QUERIES = "ema.safetensors", "queries.safetensors"
LIBRARIES = ("torch", "numpy", "open_clip_torch")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """When checkpoints are written; also at the end and on signals."""

    every_s: float = 1800.0
    """Seconds between two; 0: not by the clock. Provisional."""
    every_steps: int = 0
    """Steps between two; 0: not by steps."""
    keep: int = 3
    """The newest ones that are kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.every_s < math.inf:
            raise ValueError(f"every_s must be at least 0, got {self.every_s}")
        if self.every_steps < 0:
            raise ValueError(f"every_steps must be at least 0, got {self.every_steps}")
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where a run stands after `step` steps, and all that makes it this run."""

    step: int
    identity: Mapping[str, Any]
    """What must be equal for the run to go on: dataset, seed, batch, order, model."""
    position: Mapping[str, int]
    coverage: Mapping[str, int]
    bad: Mapping[str, int]
    """Counts of bad samples."""
    config: Mapping[str, Any]
    """All settings."""
    world: int = 1
    """Processes that trained."""
    skipped: int = 0
    """Steps of those done that changed no weight."""
    history: tuple[Mapping[str, Any], ...] = ()
    """Settings that were changed at a resume: step, setting, before, after."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files were found to be as recorded."""

    path: pathlib.Path
    state: State

    def tensors(self, name: str) -> dict[str, "torch.Tensor"]:
        """Return the tensors of one of the files, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.path / name)

    @property
    def has_ema(self) -> bool:
        """Whether the weights' moving average is in it."""
        return (self.path / EMA).exists()

    @property
    def has_queries(self) -> bool:
        """Whether the sums by query are in it."""
        return (self.path / QUERIES).exists()


def format_step(step: int) -> str:
    """Return the name of the checkpoint after `step` steps."""
    return f"step_{step:09d}"


def list_steps(folder: pathlib.Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, ascending."""
    names = [path.name.removeprefix("step_") for path in folder.glob("step_*")]
    return sorted(int(name) for name in names if name.isdigit())


def save(
    folder: pathlib.Path,
    state: State,
    tensors: Mapping[str, Mapping[str, "torch.Tensor"]],
    *,
    keep: int,
) -> pathlib.Path:
    """Write a checkpoint and make it the latest; then delete those beyond the newest `keep`.

    Args:
        folder: the run's `checkpoints`.
        state: where the run stands.
        tensors: file name to named tensors.
        keep: how many remain. Ones of later steps belong to a course that was given up: they go.

    Raises:
        OSError: if the disk fails; the checkpoints before are untouched.
    """
    target = folder / format_step(state.step)
    temporary = folder / f".tmp-{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, each in tensors.items():
            write_tensors(temporary / name, each)
        (temporary / STATE).write_bytes(_state_bytes(state, temporary, list(tensors)))
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        if target.exists():  # a damaged one, which this run has gone back behind
            shutil.rmtree(target)
        temporary.rename(target)
        _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    storage.write_atomic(str(folder / "latest"), f"{target.name}\n".encode())
    steps = list_steps(folder)
    kept = [step for step in steps if step <= state.step][-keep:]
    for step in set(steps) - set(kept):
        shutil.rmtree(folder / format_step(step), ignore_errors=True)
    return target


def write_tensors(path: pathlib.Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Write named tensors as a safetensors file.

    Raises:
        OSError: if the disk fails.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, path)
    except SafetensorError as error:  # how it passes on errors of the disk
        raise OSError(f"{path}: {error}") from None


def open_checkpoint(path: pathlib.Path) -> Checkpoint:
    """Return the checkpoint at `path`, or the newest one of the run at `path`.

    Raises:
        OpenwitError: if there is none, or it is damaged.
    """
    if not (path / FOLDER).is_dir():
        return _check(path)
    found = newest(path / FOLDER)
    if found is None:
        raise OpenwitError(f"{path}: has no checkpoint yet: train first, or name another")
    return found


def newest(folder: pathlib.Path) -> Checkpoint | None:
    """Return the latest checkpoint of a run, or, with a warning, the newest that is not damaged.

    Raises:
        OpenwitError: if there are checkpoints and none is good.
    """
    latest = folder / "latest"
    names = [format_step(step) for step in reversed(list_steps(folder))]
    if latest.is_file():
        name = latest.read_text(encoding="utf-8", errors="replace").strip()
        names = [name, *(each for each in names if each != name)]
    problems = []
    for name in names:
        try:
            found = _check(folder / name)
        except OpenwitError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            say(f"warning: {problem}")
        if problems:
            say(f"warning: {found.path}: is whole: going on from there")
        return found
    if problems:
        raise OpenwitError("\n".join([*problems, f"{folder}: no checkpoint is whole"]))
    return None


def _state_bytes(state: State, folder: pathlib.Path, names: list[str]) -> bytes:
    files = {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": storage.sha256_of(str(folder / name)),
        }
        for name in names
    }
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    value = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        **dataclasses.asdict(state),
        "versions": {"openwit": __version__, "python": platform.python_version(), **versions},
        "files": files,
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _check(path: pathlib.Path) -> Checkpoint:
    """Read a checkpoint's state and compare its files with it."""
    try:
        value = json.loads((path / STATE).read_bytes())
        if value["kind"] != KIND or value["schema_version"] != SCHEMA_VERSION:
            raise OpenwitError(
                f"{path}: {value['kind']} version {value['schema_version']}: this openwit reads "
                f"{KIND} version {SCHEMA_VERSION}"
            )
        fields = {field.name: value[field.name] for field in dataclasses.fields(State)}
        state = State(**fields | {"history": tuple(fields["history"])})
        for name, file in value["files"].items():
            size = (path / name).stat().st_size
            if size != file["bytes"]:
                raise OpenwitError(f"{path / name}: {size} bytes, not {file['bytes']}: is damaged")
            if storage.sha256_of(str(path / name)) != file["sha256"]:
                raise OpenwitError(f"{path / name}: another sha256 than {STATE} says: is damaged")
    except OSError as error:
        raise OpenwitError(f"{path}: no whole checkpoint: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OpenwitError(f"{path / STATE}: is damaged: {type(error).__name__}: {error}") from None
    return Checkpoint(path, state)


def _sync(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
