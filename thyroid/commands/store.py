"""`thyroid store`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thyroid.commands.options import StorePath
from thyroid.errors import InputError, Vanished
from thyroid.quantities import seconds, size

if TYPE_CHECKING:
    from thyroid.storage.inventory import Artifact, Inventory
    from thyroid.storage.pruning import Criteria, Pruned
    from thyroid.storage.store import Store

LINES = 20
"""Most failures that are listed one by one."""


def store(
    store: StorePath,
    *,
    verify: bool = False,
    prune: bool = False,
    max_size: str | None = None,
    older_than: str | None = None,
    keep_runs: tuple[Path, ...] = (),
    dry_run: bool = False,
) -> None:
    """List, verify or prune a store.

    Args:
        store: folder of artifacts, such as RUN/store or what --store named.
        verify: check every artifact; damaged ones are set aside and computed again when needed.
        prune: remove the artifacts that the next options select, and leftovers of commands that
            died. Artifacts that a running command may need stay.
        max_size: such as 20GB: remove the artifacts unused for longest until the others take no
            more than this.
        older_than: such as 30d: remove artifacts that were not used for this long, and failures of
            this age.
        keep_runs: run folders whose artifacts stay; without the two options above, all other
            artifacts are removed.
        dry_run: only show what would be removed.
    """
    from thyroid.run_files.stages_json import keys_needed
    from thyroid.storage.inventory import existing, take_inventory
    from thyroid.storage.pruning import Criteria

    criteria = Criteria(
        max_size=None if max_size is None else size(max_size, "--max-size"),
        older_than=None if older_than is None else seconds(older_than, "--older-than"),
        keep=frozenset().union(*map(keys_needed, keep_runs)) if keep_runs else None,
    )
    if not prune and (dry_run or criteria != Criteria()):
        raise InputError("--max-size, --older-than, --keep-runs and --dry-run need --prune.")
    if prune and verify:
        raise InputError(
            "--verify and --prune cannot be given together: verify the store first, then prune it."
        )
    found = existing(store)
    if verify:
        _verify(found)
    elif prune:
        from thyroid.progress import bar
        from thyroid.storage import pruning

        with bar("pruning", "artifacts") as advance:
            pruned = pruning.prune(found, criteria, advance, dry_run=dry_run)
        _tell_pruned(pruned, criteria, dry_run=dry_run)
    else:
        _tell_inventory(take_inventory(found))


def _verify(store: Store) -> None:
    from thyroid.progress import bar
    from thyroid.storage import inventory

    with bar("verifying", "artifacts") as advance:
        count, damaged = inventory.verify(store, advance)
    for name in damaged:
        print(f"damaged: {name}")
    if damaged:
        raise Vanished(
            f"{len(damaged)} of {_number(count, 'artifact')} were damaged: they are set aside in "
            f"{store.root / 'damaged'}, and computed again when they are needed."
        )
    print(f"{_number(count, 'artifact')}, all intact")


def _tell_inventory(found: Inventory) -> None:
    kinds = _by_kind(found.artifacts)
    rows = [("stage", "artifacts", "size", "stage-seconds", "last use")]
    for kind, of_kind in [*kinds.items(), ("all", found.artifacts)]:
        last = max((artifact.used for artifact in of_kind), default=None)
        ago = "never" if last is None else f"{_age(found.now - last)} ago"
        rows.append((kind, *_sums(of_kind), ago))
    _print_table(rows)

    print()
    other = [("besides", "number", "size")]
    other.append(("commands at work", str(len(found.commands)), ""))
    for title, what, left_over in (
        ("being made", "unfinished", False),
        ("unfinished, left over", "unfinished", True),
        ("damaged", "damaged", True),
        ("half removed", "half removed", True),
        ("dead leases", "lease", True),
    ):
        scraps = [s for s in found.scraps if (s.what, s.left_over) == (what, left_over)]
        taken = _size_text(sum(scrap.size for scrap in scraps)) if what != "lease" else ""
        other.append((title, str(len(scraps)), taken))
    other.append(("failures", str(len(found.failures)), ""))
    _print_table(other)

    for command in found.commands:
        age = _age(found.now - command.began)
        print(f"running: process {command.process} on {command.machine}, for {age}")
    for failure in found.failures[-LINES:]:
        age = _age(found.now - failure.since)
        print(f"failed: {failure.path.name[:12]} {age} ago: {failure.reason}")
    if len(found.failures) > LINES:
        print(f"... and {len(found.failures) - LINES} earlier failures")


def _tell_pruned(pruned: Pruned, criteria: Criteria, *, dry_run: bool) -> None:
    would = "would be removed" if dry_run else "removed"
    if pruned.artifacts:
        rows = [(would, "artifacts", "size", "stage-seconds")]
        kinds = _by_kind(pruned.artifacts)
        rows += [(kind, *_sums(artifacts)) for kind, artifacts in kinds.items()]
        rows.append(("all", *_sums(pruned.artifacts)))
        _print_table(rows)
    else:
        print(f"no artifact {would}")
    left_over = _size_text(sum(scrap.size for scrap in pruned.scraps))
    whats = Counter(scrap.what for scrap in pruned.scraps)
    told = [f"{count} {what}" for what, count in sorted(whats.items())]
    told += [_number(len(pruned.failures), "old failure")] if pruned.failures else []
    if told:
        print(f"left over, {would}: {', '.join(told)} ({left_over})")
    print(f"{_number(pruned.left, 'artifact')} left, {_size_text(pruned.left_size)}")
    if pruned.spared:
        print(f"{len(pruned.spared)} of them stay because a running command may need them")
    if criteria.max_size is not None and pruned.left_size > criteria.max_size:
        print(f"that is more than --max-size, {_size_text(criteria.max_size)}")


def _by_kind(artifacts: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    kinds: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in sorted(artifacts, key=lambda artifact: artifact.kind):
        kinds[artifact.kind].append(artifact)
    return kinds


def _sums(artifacts: Sequence[Artifact]) -> tuple[str, str, str]:
    """Return number, size and stage-seconds."""
    taken = sum(artifact.size for artifact in artifacts)
    spent = sum(artifact.seconds for artifact in artifacts)
    return str(len(artifacts)), _size_text(taken), f"{spent:,.1f}"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns with the first row as headings: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _size_text(size: float) -> str:
    """`1234567` -> `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _age(nanoseconds: int) -> str:
    """`7200 * 10**9` -> `2 h`."""
    seconds = max(nanoseconds, 0) / 1e9
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
