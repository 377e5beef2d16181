"""The main job on a real site: archive, dataset, verification, training, evaluation, report.

Every step is a command that anyone can type; each is printed before it runs. Finished work is kept:
run the same command again after a kill, or to see the summary once more.
"""

import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from site_source import WORDNET as WORDNET_FOLDER
from site_source import SiteError, cache_folder, record, unpack_package
from summary import print_summary

HERE = pathlib.Path(__file__).parent
BIN = pathlib.Path(sys.executable).parent
TEST_SHARE = "0.25"
QUICK = ("--set", "train.epochs=3")


def main() -> int:
    """Do the whole job and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for all results")
    parser.add_argument("--quick", action="store_true", help="train for half a minute only")
    arguments = parser.parse_args()
    out: pathlib.Path = arguments.out
    try:
        prepare(out)
        dataset, splits = out / "run" / "dataset", out / "run" / "splits"
        training = out / ("training-quick" if arguments.quick else "training")
        call("openwit-pipeline", "run", str(out / "config.toml"))
        call("openwit-manifest", "verify", str(dataset), "--deep")
        split(dataset, splits)
        quick = QUICK if arguments.quick else ()
        call("openwit-train", "run", str(out / "config.toml"), "--output", str(training), *quick)
        test = splits / "test" / "manifest.json"
        evaluation = training / "eval" / "held-out"
        call(
            *("openwit-train", "evaluate", str(training)),
            *("--manifest", str(test), "--output", str(evaluation)),
        )
        call(
            *("openwit-manifest", "report", str(dataset), "--out", str(out / "report.html")),
            *("--stages", str(out / "run" / "stages"), "--training", str(training)),
        )
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"error: {shlex.join(error.cmd)}: exit code {error.returncode}", file=sys.stderr)
        return 3
    print_summary(out, training, evaluation)
    return 0


def prepare(out: pathlib.Path) -> None:
    """Put archives, WordNet and configuration in one folder, as a user would."""
    cache = cache_folder()
    wordnet = unpack_package("wordnet-base", cache) / WORDNET_FOLDER
    warcs = record(cache)
    (out / "warc").mkdir(parents=True, exist_ok=True)
    for warc in warcs:
        copy(warc, out / "warc" / warc.name)
    (out / "wordnet").mkdir(exist_ok=True)
    for path in sorted(wordnet.glob("data.*")):
        copy(path, out / "wordnet" / path.name)
    names = "".join(f"warc/{warc.name}\n" for warc in warcs)
    (out / "archives.txt").write_text(names, encoding="utf-8")
    shutil.copyfile(HERE / "config.toml", out / "config.toml")


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a file that is not there yet."""
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.rename(target)


def split(dataset: pathlib.Path, splits: pathlib.Path) -> None:
    """Hold out a share of the pairs for evaluation; a split of the same dataset is kept."""
    digest = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))["digest"]
    made = splits / "of.txt"
    if made.exists() and made.read_text(encoding="utf-8") == digest:
        return
    shutil.rmtree(splits, ignore_errors=True)
    train_share = f"{1 - float(TEST_SHARE):g}"
    call(
        *("openwit-manifest", "split", str(dataset), "--out", str(splits)),
        *("--part", f"train={train_share}", "--part", f"test={TEST_SHARE}"),
    )
    made.write_text(digest, encoding="utf-8")


def call(command: str, *arguments: str) -> None:
    """Print a command of ours, run it, and print how long it took."""
    print(f"\n$ {shlex.join([command, *arguments])}", flush=True)
    start = time.monotonic()
    subprocess.run([str(BIN / command), *arguments], check=True)  # noqa: S603 (our own commands)
    print(f"  ({time.monotonic() - start:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
