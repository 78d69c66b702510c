"""`thyroid cluster-files`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def cluster_files(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Write the files with which Ray starts a cluster, and what they send to its machines.

    Args:
        folder: a new folder; FOLDER/cluster/README.md says what to do with it.
    """
    from thyroid.progress import say
    from thyroid.workflows.cluster_files import write_cluster_files

    write_cluster_files(folder)
    say(f"read {folder}/cluster/README.md; `ray up cluster/onprem.yaml` is run in {folder}")
