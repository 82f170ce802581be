"""`lifecycle validate`: check playbooks for mistakes, and for rules that are allowed but cannot be intended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streams.core.lifecycle.playbook import Playbook
from streams.errors import UserError
from streams.playbooks.loader import load
from streams.playbooks.transition_rows import rows_of, unreachable


def run(sources: Sequence[str], write: Callable[[str], None]) -> int:
    """Write the mistakes of each playbook, or its summary and warnings. Called by the command line.

    Return the exit code: 2 if a playbook cannot be used, else 0. Warnings do not change it.
    """
    code = 0
    for source in sources:
        try:
            playbook = load(source)
        except UserError as error:
            code = 2
            write(str(error))
            continue
        tracks, rows = len(playbook.tracks), sum(len(rows_of(track)) for track in playbook.tracks)
        summary = f"{tracks} track{'' if tracks == 1 else 's'}, {rows} transitions"
        write(f"{source}: {playbook.name}, version {playbook.version}: {summary}")
        for warning in warnings(playbook):
            write(f"{source}: warning: {warning}")
    return code


def warnings(playbook: Playbook) -> Iterator[str]:
    """Yield a sentence for everything that is allowed but most likely a mistake."""
    for track in playbook.tracks:
        for stage in unreachable(track):
            yield f"track {track.name}: no customer can reach the stage {stage}"
        seen: dict[tuple[str, str], str] = {}
        for row in rows_of(track):
            for source in row.sources:
                first = seen.setdefault((source, row.text), row.target)
                if first != row.target and not row.is_timeout:
                    transition = f"the transition from {source} to {row.target}"
                    reason = f"the one to {first} has the same rule and comes first"
                    yield f"track {track.name}: {transition} never applies: {reason}"
