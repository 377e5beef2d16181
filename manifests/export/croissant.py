"""`croissant.json`: the dataset as MLCommons Croissant 1.1 says it, with digests and provenance."""

import json
from collections.abc import Iterable
from typing import Any

from manifests.format.manifest import Manifest

MAX_TARS = 1_000
"""Above so many tars only the rows are described, provisional: each tar takes 300 bytes."""
SPEC = "http://mlcommons.org/croissant/1.1"
_TERMS = {
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **_TERMS,
}
"""Of the 1.1 standard; without `containedIn` a loader finds no image and says nothing."""
_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int32": "sc:Integer",
    "int64": "sc:Integer",
    "uint8": "sc:Integer",
    "float": "sc:Float",
    "double": "sc:Float",
}
"""Columns of other types, such as lists, are left to the Parquet file."""


def croissant(manifest: Manifest) -> dict[str, bytes]:
    """Return the document; paths are relative to it."""
    with_tars = len(manifest.shards) <= MAX_TARS and manifest.image_ext == "jpg"
    about: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPEC,
        "name": _name(manifest.name),
        "description": manifest.description or f"Image-text pairs: {manifest.name}",
        "version": _version(manifest.version),
        "identifier": manifest.digest,
        "url": manifest.url or f"urn:openwit:{manifest.digest}",
        "distribution": [*_rows_distribution(manifest)]
        + ([*_tar_distribution(manifest)] if with_tars else []),
        "recordSet": [_rows(manifest), *([_images()] if with_tars and manifest.shards else [])],
    }
    if manifest.license:
        about["license"] = manifest.license
    if manifest.creator:
        about["creator"] = {"@type": "sc:Organization", "name": manifest.creator}
    if manifest.citation:
        about["citeAs"] = manifest.citation
    parents = [{"@id": f"urn:openwit:{parent['digest']}"} for parent in manifest.parents
               if parent.get("digest")]  # fmt: skip
    if parents:
        about["prov:wasDerivedFrom"] = parents
    return {"croissant.json": json.dumps(about, indent=1, ensure_ascii=False).encode() + b"\n"}


def _name(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-_ ." else "-" for char in text) or "openwit"


def _version(text: str) -> str:
    """Return a version of three numbers, as the standard asks."""
    parts = text.split(".")
    is_numeric = all(part.isdigit() for part in parts) and len(parts) <= 3
    return ".".join([*parts, "0", "0"][:3]) if is_numeric else "1.0.0"


def _rows_distribution(manifest: Manifest) -> Iterable[dict[str, Any]]:
    folders = {shard.parquet.path.rpartition("/")[0] for shard in manifest.shards} or {"shards"}
    # In no container, and of this type: `vnd.apache.parquet` validates and does not load.
    yield {
        "@type": "cr:FileSet",
        "@id": "rows-files",
        "name": "rows-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"{min(folders)}/*.parquet",
    }


def _tar_distribution(manifest: Manifest) -> Iterable[dict[str, Any]]:
    names = []
    for shard in manifest.shards:
        names.append(f"tar-{shard.id:08d}")
        yield {
            "@type": "cr:FileObject",
            "@id": names[-1],
            "name": names[-1],
            "contentUrl": shard.tar.path,
            "contentSize": f"{shard.tar.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.tar.sha256,
        }
    if names:
        yield {
            "@type": "cr:FileSet",
            "@id": "image-files",
            "name": "image-files",
            "containedIn": [{"@id": name} for name in names],
            "encodingFormat": "image/jpeg",
            "includes": "*.jpg",
        }


def _rows(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "key": {"@id": "rows/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"rows/{column['name']}",
                "name": f"rows/{column['name']}",
                "dataType": _TYPES[str(column["type"])],
                "source": {
                    "fileSet": {"@id": "rows-files"},
                    "extract": {"column": column["name"]},
                },
            }
            for column in manifest.schema
            if column["type"] in _TYPES
        ],
    }


def _images() -> dict[str, Any]:
    def field(name: str, kind: str, extract: str) -> dict[str, Any]:
        source = {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": extract}}
        return {"@type": "cr:Field", "@id": f"images/{name}", "name": f"images/{name}",
                "dataType": kind, "source": source}  # fmt: skip

    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "field": [
            field("name", "sc:Text", "filename"),
            field("image", "sc:ImageObject", "content"),
        ],
    }
