"""`lifecycle validate`: are these playbooks right, and is there something in them that their writer cannot mean?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streams.core.lifecycle.playbook import Playbook
from streams.errors import UserError
from streams.playbooks.loader import load
from streams.playbooks.transition_rows import rows_of, unreachable


def run(sources: Sequence[str], say: Callable[[str], None]) -> int:
    """Called by the command line: says what each playbook holds, what is doubtful, or what is wrong with it.

    Returns the exit code: 2 if one cannot be used. What is doubtful leaves it at 0.
    """
    code = 0
    for source in sources:
        try:
            playbook = load(source)
        except UserError as error:
            code = 2
            say(str(error))
            continue
        tracks, rows = len(playbook.tracks), sum(len(rows_of(track)) for track in playbook.tracks)
        holds = f"{tracks} track{'' if tracks == 1 else 's'}, {rows} transitions"
        say(f"{source}: {playbook.name}, version {playbook.version}: {holds}")
        for doubt in warnings(playbook):
            say(f"{source}: warning: {doubt}")
    return code


def warnings(playbook: Playbook) -> Iterator[str]:
    """What is allowed and still most likely a mistake."""
    for track in playbook.tracks:
        for stage in unreachable(track):
            yield f"track {track.name}: no customer ever comes to {stage}"
        seen: dict[tuple[str, str], str] = {}
        for row in rows_of(track):
            for source in row.sources:
                first = seen.setdefault((source, row.text), row.target)
                if first != row.target and not row.is_timeout:
                    way = f"{source} to {row.target}"
                    yield f"track {track.name}: {way} never applies: {first} has the same rule before it"
