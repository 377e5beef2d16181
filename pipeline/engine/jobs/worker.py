"""A worker process of the mode `processes`: Beam's harness, which ends when its parent does."""

import logging
import os
import threading
import time
import traceback

from manifests.base.console import quiet_logs

WATCH_SECONDS = 0.2


def serve() -> None:
    """Serve the driver that the environment names, until it has no more work."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    logging.basicConfig(format="%(levelname)s worker %(process)d %(name)s: %(message)s")
    with quiet_logs():
        from apache_beam.runners.worker.sdk_worker_main import create_harness
    logging.getLogger("apache_beam.runners.worker").setLevel(logging.ERROR)
    try:
        _, harness, _ = create_harness(os.environ)
        harness.run()
    except BaseException:
        traceback.print_exc()  # what ends a forked process is told by nobody else
        raise


def _watch(parent: int) -> None:
    """End this process, whatever it does, once another one has become its parent."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
