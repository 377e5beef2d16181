"""A worker process of the mode `processes`: Beam's harness, which ends when its driver does.

`python -m pipeline.engine.jobs.worker DRIVER-PID`, started by `pipeline.engine.jobs.runner` only.
"""

import logging
import os
import sys
import threading
import time

from pipeline.engine.options import quiet_imports

WATCH_SECONDS = 0.2


def main() -> None:
    """Serve the driver whose process id is the first argument."""
    threading.Thread(target=_watch, args=(int(sys.argv[1]),), daemon=True).start()
    logging.basicConfig(format="%(levelname)s worker %(process)d %(name)s: %(message)s")
    with quiet_imports():
        from apache_beam.runners.worker.sdk_worker_main import create_harness
    logging.getLogger("apache_beam.runners.worker").setLevel(logging.ERROR)
    _, harness, _ = create_harness(os.environ)
    harness.run()


def _watch(driver: int) -> None:
    """End this process, whatever it does, once another one has become its parent."""
    while os.getppid() == driver:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
