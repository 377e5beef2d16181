"""A lock file in a folder: one command at a time may change a dataset in place."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from manifests.base import storage
from manifests.base.errors import RefusedError


@contextlib.contextmanager
def locked(root: str, name: str) -> Iterator[None]:
    """Hold the lock of a local folder; other stores have none.

    A lock that a dead process of this machine left behind is taken over.

    Raises:
        RefusedError: if another process holds it; names host and process.
    """
    if not storage.is_local(root):
        yield
        return
    path = pathlib.Path(root, name)
    me = {"host": socket.gethostname(), "pid": os.getpid()}
    _drop_stale(path, str(me["host"]))
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise RefusedError(
            f"{path}: held by {_holder(path)}: wait for it, or remove the file if that is dead"
        ) from None
    try:
        os.write(handle, json.dumps(me).encode())
        os.close(handle)
        yield
    finally:
        path.unlink(missing_ok=True)


def _read(path: pathlib.Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _holder(path: pathlib.Path) -> str:
    value = _read(path)
    return f"process {value.get('pid', '?')} on {value.get('host', '?')}"


def _drop_stale(path: pathlib.Path, host: str) -> None:
    value = _read(path)
    pid = value.get("pid")
    if value.get("host") != host or type(pid) is not int or pid <= 0:
        return
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        path.unlink(missing_ok=True)
    except PermissionError:
        return
