"""What `ray submit CLUSTER.yaml cluster/search.py -- DATASET RUN ...` runs on the head node:
`thyroid search` on the cluster.
"""

import sys

from thyroid.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:], "--address", "auto"]))
