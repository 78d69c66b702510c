"""`thyroid cluster-files`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def cluster_files(
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")],
) -> None:
    """Write the files that start a Ray cluster, and the files that they send to its machines.

    Args:
        folder: a new folder; FOLDER/cluster/README.md explains how to use it.
    """
    from thyroid.progress import say
    from thyroid.workflows.cluster_files import write_cluster_files

    write_cluster_files(folder)
    say(f"read {folder}/cluster/README.md, then run `ray up cluster/onprem.yaml` in {folder}")
