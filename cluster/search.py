"""Runs `thyroid search` on a cluster's head node.

Start it by `ray submit CLUSTER.yaml cluster/search.py -- DATASET RUN ...`.
"""

import sys

from thyroid.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:], "--address", "auto"]))
