"""`README.md` as the Hugging Face Hub reads it: a YAML head and a page."""

import json

from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
"""The Hub's names of sizes: below so many samples."""
TASKS = ("zero-shot-image-classification", "text-to-image", "image-to-text")


def hf_card(manifest: Manifest) -> dict[str, bytes]:
    """Return the card: licence, size, and the tars as the one configuration.

    `datasets` takes one reader for all configurations of a folder, so the rows are none.

    Raises:
        RefusedError: if images have several extensions, which `datasets` types by the first one.
    """
    if manifest.image_ext == "mixed":
        raise RefusedError(f"{manifest.root}: image_ext mixed: datasets takes one extension")
    # JSON texts are YAML too, whatever they hold.
    head = [
        "---",
        f"pretty_name: {json.dumps(manifest.name)}",
        *_license(manifest.license),
        f"size_categories:\n- {_size(manifest.samples)}",
        "task_categories:\n" + "\n".join(f"- {task}" for task in TASKS),
        "tags:\n- webdataset\n- image-text\n- openwit",
        "configs:",
        "- config_name: samples\n  default: true\n  data_files:\n  - split: train\n    path: "
        + json.dumps(f"{_folder(manifest)}*.tar"),
        "---",
    ]
    return {"README.md": ("\n".join([*head, "", *_body(manifest)]) + "\n").encode()}


def _folder(manifest: Manifest) -> str:
    path = manifest.shards[0].tar.path if manifest.shards else "shards/"
    return path[: path.rfind("/") + 1]


def _license(license_text: str | None) -> list[str]:
    """Return the Hub's field: an SPDX id in lower case, or `other` with its name."""
    if not license_text:
        return []
    if all(char.isalnum() or char in ".-" for char in license_text):
        plain = license_text.lower()
        if not plain.startswith("licenseref-"):
            return [f"license: {json.dumps(plain)}"]
    return ["license: other", f"license_name: {json.dumps(license_text)}"]


def _size(samples: int) -> str:
    return next((name for limit, name in SIZES if samples < limit), "n>1T")


def _body(manifest: Manifest) -> list[str]:
    totals = manifest.totals
    lines = [f"# {_plain(manifest.name)}", "", _plain(manifest.description), ""]
    lines += [
        f"{totals['samples']} image-text pairs in {totals['shards']} shards, "
        f"{totals['tar_bytes']} bytes of tars. Made by openwit; digest `{manifest.digest}`.",
        "",
        "`{key}.jpg`, `{key}.txt` and `{key}.json` of a sample stand together in a tar; the "
        "Parquet file of the same name has one row per sample, with byte offsets into the tar.",
    ]
    for name in ("url", "creator", "citation"):
        if getattr(manifest, name):
            lines += ["", f"{name}: {_plain(getattr(manifest, name))}"]
    return lines


def _plain(text: str) -> str:
    """Return a text of one line without characters that Markdown or HTML would take up."""
    return "".join(
        f"\\{char}" if char in "\\`*_[]<>#|" else char for char in " ".join(text.split())
    )
