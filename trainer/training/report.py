"""The report of a run: `report.json`, the same for people as `report.md` and `report.html`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base import storage
from manifests.base.console import printable
from manifests.format.manifest import Manifest
from manifests.report.page import write_training_report
from manifests.report.training import read_training, tables
from trainer.run_dir import RunDir


def write_report(manifest: Manifest, folder: RunDir) -> None:
    """Write the report of a RUN, however far it has come.

    Args:
        manifest: the dataset that is trained on.
        folder: the run; its files are read, nothing else.

    Raises:
        ValueError, KeyError: if its files are damaged.
        OSError: if the disk fails.
    """
    run = read_training(str(folder.path))
    data = json.dumps(run, indent=1, ensure_ascii=False).encode() + b"\n"
    storage.write_atomic(str(folder.report / "report.json"), data)
    text = "\n".join(_lines(run)) + "\n"
    storage.write_atomic(str(folder.report / "report.md"), text.encode())
    if run["curves"]:
        write_training_report(manifest, str(folder.report / "report.html"), str(folder.path))


def _lines(run: Mapping[str, Any]) -> Iterator[str]:
    yield "# Training"
    yield ""
    facts = {**run["run"], **run["speed"], **run["last"], "bad_samples": sum(run["bad"].values())}
    yield from _table([{"": name, "value": value} for name, value in facts.items() if value != ""])
    for evaluation in run["evaluations"]:
        yield from ("", f"## Evaluation: {_text(evaluation['title'])}", "")
        yield from _table(evaluation["rows"])
    for title, rows in tables(run).items():
        if rows:
            yield from ("", f"## {title}", "")
            yield from _table(rows)
    yield from ("", "Curves: report.html. All settings: config.toml.")


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    columns = list(rows[0])
    yield f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(_text(row[name]) for name in columns)} |"


def _text(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else printable(str(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
