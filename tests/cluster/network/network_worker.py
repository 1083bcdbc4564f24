"""A worker process of the tests: arguments are listen address, cache folder, secret key."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from network_cluster import open_engine

from runtimes.cluster.keys import KeyRing
from runtimes.cluster.worker import Worker, WorkerOptions

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    listen, cache, *key = sys.argv[1:]
    keys = KeyRing.load(Path(key[0])) if key else None
    worker = Worker(WorkerOptions(listen, Path(cache), keys=keys), open_engine)
    print(worker.address, flush=True)
    worker.serve()
