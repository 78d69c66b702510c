"""What `ray submit CLUSTER.yaml cluster/search.py -- DATASET RUN ...` runs on the head node:
`thyroid search` on the cluster, as soon as it has a worker.
"""

import sys
import time

from thyroid import cli
from thyroid.distribute.connection import connected
from thyroid.distribute.tasks import resources_there
from thyroid.errors import InputError
from thyroid.progress import say


def has_worker() -> bool:
    """Whether a node is there that computes: the head of our clusters offers no processor."""
    return any(node.get("CPU") for node in resources_there())


def main() -> int:
    """Search; the exit status is that of `thyroid search`."""
    try:
        with connected("auto"):
            if not has_worker():
                say("waiting for the cluster's first worker")
            while not has_worker():
                time.sleep(1)
            return cli.main(["search", *sys.argv[1:], "--address", "auto"])
    except InputError as mistake:
        print(f"thyroid: {mistake}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
