"""Worker processes from a process that has loaded all they need, and forks one when asked.

To start Python with Beam takes 2 CPU-s (measured), to fork 0.02; a run has some twenty jobs, each
with workers of its own. The driver, which has threads, cannot fork itself.

`python -P -m pipeline.engine.jobs.fork_server` is started by a `ForkServer` only. It reads a line
for each worker, the variables of its environment as JSON, and writes `PID` when one has begun and
`PID CODE CPU-SECONDS PEAK-BYTES` when one has ended. It ends when its input does, that is with the
driver, however that ends; the workers end with it.
"""

import atexit
import contextlib
import importlib
import json
import os
import pathlib
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO

from manifests.base.console import quiet_logs
from pipeline.engine import runs

OURS = ("pipeline.", "filters.", "manifests.")
REQUESTS, ANSWERS, ERRORS = range(3)
"""Descriptors of the server's."""
ALLOCATOR = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow's own allocator keeps what is freed: a worker of `fetch` took 50 MiB more (measured). Only
the environment that a process starts with can choose another."""
OF_WORKERS = (
    "apache_beam.runners.worker.sdk_worker_main",
    "pipeline.engine.jobs.map_job",
    "pipeline.engine.jobs.shuffle_job",
)
START_SECONDS = 120
"""How long the server may take to load what workers need, on a machine that is busy."""


class Worker:
    """A forked process."""

    def __init__(self, pid: int) -> None:
        """Made by `ForkServer.fork`."""
        self.pid = pid
        self._has_ended = threading.Event()
        self._code = -signal.SIGKILL

    def end(self, code: int) -> None:
        """Note that it has ended."""
        self._code = code
        self._has_ended.set()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, below 0 for a signal; None if it still runs after the time."""
        return self._code if self._has_ended.wait(seconds) else None

    def kill(self) -> None:
        """End it at once."""
        if not self._has_ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """The server's side in the driver."""

    def __init__(self, python_path: str) -> None:
        """Start it; it loads what this process has loaded of ours, and Beam's worker."""
        self._lock = threading.Lock()
        self._begun: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        self._workers: dict[int, Worker] = {}
        # A session of its own: Ctrl-C reaches the driver alone, which then ends its workers.
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-P", "-m", __spec__.name],
            env={**ALLOCATOR, **os.environ, "PYTHONPATH": python_path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(sorted(name for name in sys.modules if name.startswith(OURS)))

    def fork(self, environment: Mapping[str, str]) -> Worker:
        """Return a new worker.

        Raises:
            OSError: if there is none, for the server has ended.
        """
        with self._lock, contextlib.suppress(queue.Empty):
            self._send(dict(environment))
            worker = self._begun.get(timeout=START_SECONDS)
            if worker is not None:
                return worker
        raise OSError("the process that forks workers does not answer")

    @property
    def is_alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and with it all its workers."""
        stdin, stdout = self._pipes()
        with contextlib.suppress(OSError):
            stdin.close()
        self._process.wait()
        stdout.close()

    def _send(self, value: object) -> None:
        stdin, _ = self._pipes()
        stdin.write(json.dumps(value).encode() + b"\n")
        stdin.flush()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise ValueError("the server was started without pipes")
        return process.stdin, process.stdout

    def _listen(self) -> None:
        for line in self._pipes()[1]:
            pid, *ended = line.split()
            if not ended:
                worker = self._workers[int(pid)] = Worker(int(pid))
                self._begun.put(worker)
            else:
                code, cpu_seconds, peak_bytes = ended
                runs.count_worker(float(cpu_seconds), int(peak_bytes))
                self._workers.pop(int(pid)).end(int(code))
        for worker in tuple(self._workers.values()):  # the server has ended, so they end, too
            worker.end(-signal.SIGKILL)
        self._begun.put(None)


_servers: dict[str, ForkServer] = {}


def python_path() -> str:
    """Return where this process looks for modules, for others."""
    return os.pathsep.join(path or str(pathlib.Path.cwd()) for path in sys.path)


def running_server() -> ForkServer:
    """Return this process's server, started when first asked for; it lives as long."""
    path = python_path()
    server = _servers.get(path)
    if server is None or not server.is_alive:
        server = _servers[path] = ForkServer(path)
        atexit.register(server.close)
    return server


def main() -> None:
    """Serve the driver at the other end of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pending = bytearray()
    is_loaded = False
    while True:
        ready, _, _ = select.select([REQUESTS, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _reap()
        if REQUESTS not in ready:
            continue
        data = os.read(REQUESTS, 1 << 16)
        if not data:
            return
        pending += data
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending = bytearray(rest)
            if is_loaded:
                _fork(json.loads(line))
            else:
                _load(json.loads(line))
                is_loaded = True


def _load(names: list[str]) -> None:
    with quiet_logs():
        for name in (*names, *OF_WORKERS):
            with contextlib.suppress(ImportError):  # whoever needs it says so
                importlib.import_module(name)


def _fork(environment: Mapping[str, str]) -> None:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _say(pid)
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, REQUESTS)
        os.dup2(ERRORS, ANSWERS)  # the pipe to the driver is no place for what a worker prints
        os.environ.clear()
        os.environ.update(environment)
        from pipeline.engine.jobs.worker import serve

        serve()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)  # nothing of the server's own is undone


def _reap() -> None:
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        _say(pid, code, used.ru_utime + used.ru_stime, used.ru_maxrss * runs.RSS_BYTES)


def _say(*words: object) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(ANSWERS, (" ".join(map(str, words)) + "\n").encode())


if __name__ == "__main__":
    main()
