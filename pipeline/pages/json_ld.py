"""JSON-LD: what its ImageObjects say of images."""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class ImageObject:
    """A schema.org ImageObject that names its image."""

    url: str
    """As found: `contentUrl`, else `url`."""
    text: str | None
    """As found: `caption`, else `description`, else `name`."""
    license: str | None
    """As found."""


def image_objects(blocks: Iterable[object]) -> list[ImageObject]:
    """Return the ImageObjects of decoded JSON-LD blocks, in document order."""
    found: list[ImageObject] = []
    rest = list(blocks)[::-1]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += reversed(value)
        elif isinstance(value, dict):
            rest += reversed(value.values())
            url = _first(value, "contentUrl", "url") if _is_image(value.get("@type")) else None
            if url:
                text = _first(value, "caption", "description", "name")
                found.append(ImageObject(url, text, _first(value, "license")))
    return found


def _is_image(kind: object) -> bool:
    names = kind if isinstance(kind, list) else [kind]
    return any(
        isinstance(name, str) and name.replace(":", "/").rpartition("/")[2] == "ImageObject"
        for name in names
    )


def _first(value: dict[str, object], *names: str) -> str | None:
    """Return the first of some properties that is a text, or an object that holds or names one."""
    for name in names:
        values = value.get(name)
        for each in values if isinstance(values, list) else [values]:
            text = each
            if isinstance(each, dict):
                text = each.get("@value") or each.get("@id") or each.get("url")
            if isinstance(text, str) and text.strip():
                return text
    return None
