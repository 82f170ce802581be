"""`lifecycle test`: run scenario files and show, for each failure, what was expected and what came."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from streams import deployment, playbooks
from streams.core.lifecycle.playbook import Playbook
from streams.errors import UserError
from streams.replay import scenario_file
from streams.replay.scenario_file import ScenarioFile
from streams.replay.scenario_run import DEAD_LETTER, Document, Failure, Scenario, ScenarioError, differences, run
from streams.settings import Settings
from streams.values import parse_time, show_duration, show_time

SHIPPED: Final = Path(__file__).parents[1] / "playbooks" / "scenarios"
"""Directory with the scenarios of the shipped playbooks."""
OUTPUTS: Final = ("stages", "abandonments", "triggers", "identities", "stage_changed", "triggered")
IDENTITIES: Final = ("linked", "switched", "refused")
ABANDONMENTS: Final = ("abandoned", "recovered", "retracted", "expired", "browse", "cart", "checkout")


def run_all(
    paths: Sequence[Path],
    settings: Settings,
    playbook_of: Callable[[ScenarioFile], Playbook],
    console: Console | None = None,
) -> int:
    """Run the scenarios of files and directories. Return the exit code: 1 if a scenario failed.

    `playbook_of` finds the playbook of a file. Mistakes in any file are reported before anything runs.
    """
    console = Console(highlight=False, soft_wrap=True) if console is None else console
    started, passed, failed = time.perf_counter(), 0, 0
    files = [(file, playbook_of(file)) for file in map(scenario_file.load, scenario_file.find(paths))]
    for file, playbook in files:
        _check_words(file, playbook)
    for file, playbook in files:
        console.print(Text(str(file.path), "bold"))
        for scenario in file.scenarios:
            try:
                failure = run(scenario, playbook, settings)
            except ScenarioError as error:
                raise UserError(f"{file.path}:{error.line}: {error.text}.") from None
            console.print(
                Text.assemble(("  ok    ", "green") if failure is None else ("  FAIL  ", "red"), scenario.name)
            )
            if failure is None:
                passed += 1
            else:
                failed += 1
                for line in _explain(file.path, scenario, failure):
                    console.print(line)
    seconds = time.perf_counter() - started
    summary = f"{passed} passed" + (f", {failed} failed" if failed else "")
    console.print(Text(f"{summary} in {seconds:.2f} s", "red" if failed else "green"))
    return 1 if failed else 0


def playbook_of(settings: Settings) -> Callable[[ScenarioFile], Playbook]:
    """Return a function that loads the playbook of a scenario file.

    A file names its playbook by a path relative to itself, or by the name of a shipped one. A file that names none gets
    the playbook of the settings.
    """

    def find(file: ScenarioFile) -> Playbook:
        if file.playbook is None:
            return deployment.load_playbook(settings)
        source = file.playbook if file.playbook in playbooks.SHIPPED else file.path.parent / file.playbook
        return deployment.load_playbook(settings, source)

    return find


def words_of(playbook: Playbook) -> set[str]:
    """Return the words that `only` may contain."""
    tracks, triggers = [track.name for track in playbook.tracks], [trigger.name for trigger in playbook.triggers]
    return {*OUTPUTS, *ABANDONMENTS, *IDENTITIES, *tracks, *triggers}


def _check_words(file: ScenarioFile, playbook: Playbook) -> None:
    """Raise `UserError` if `only` contains a word that no output has: every `expect: []` would pass because of it."""
    known = words_of(playbook)
    for scenario in file.scenarios:
        for word in sorted(scenario.only - known):
            close = difflib.get_close_matches(word, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"it names some of {', '.join(sorted(known))}."
            raise UserError(f"{file.path}:{scenario.line}: only: no output is called {word}: {meant}")


# -------------------------------------------------------------------------------------------------------- failures


def _explain(path: Path, scenario: Scenario, failure: Failure) -> Iterator[Text]:
    since = show_duration(failure.at - scenario.start)
    yield Text(f"        {path}:{failure.line}, {since} after the start ({show_time(failure.at)})", "dim")
    if not failure.got:
        yield Text("        nothing came", "dim")
    for expected, got in _pairs(failure.expected, failure.got):
        if expected is None:
            assert got is not None
            yield Text(f"        + came, not expected   {_line(got, scenario)}", "yellow")
        elif got is None:
            yield Text(f"        - expected, not come   {_line(expected, scenario)}", "red")
        elif found := differences(expected, got):
            yield Text(f"        ~ came different       {_line(got, scenario)}", "magenta")
            for difference in found:
                yield Text(f"            {difference}", "magenta")
        else:
            yield Text(f"        = as expected          {_line(got, scenario)}", "dim")


def _pairs(expected: list[Document], got: list[Document]) -> Iterator[tuple[Document | None, Document | None]]:
    """Yield pairs of an expected and an actual output, in the order of both lists.

    Outputs that agree are paired first, then, between these, outputs of the same name. All others come alone.
    """
    first, second = 0, 0
    for i, j in [*_common(expected, got), (len(expected), len(got))]:
        yield from _unequal(expected[first:i], got[second:j])
        if i < len(expected):
            yield expected[i], got[j]
        first, second = i + 1, j + 1


def _common(expected: list[Document], got: list[Document]) -> list[tuple[int, int]]:
    """Return the positions of as many pairs that agree as possible, in the order of both lists."""
    best: list[list[list[tuple[int, int]]]] = [[[] for _ in range(len(got) + 1)] for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(got))):
            skip = max(best[i + 1][j], best[i][j + 1], key=len)
            take = [] if differences(expected[i], got[j]) else [(i, j), *best[i + 1][j + 1]]
            best[i][j] = take if len(take) > len(skip) else skip
    return best[0][0]


def _unequal(expected: list[Document], got: list[Document]) -> Iterator[tuple[Document | None, Document | None]]:
    waiting = list(got)
    for document in expected:
        same = next((n for n, other in enumerate(waiting) if _name(other) == _name(document)), None)
        if same is None:
            yield document, None
        else:
            for other in waiting[:same]:
                yield None, other
            yield document, waiting[same]
            del waiting[: same + 1]
    for other in waiting:
        yield None, other


def _name(document: Document) -> str:
    """Return the type and the kind of an output in the notation of scenarios."""
    match document.get("type"):
        case "stage_changed":
            return f"stage: {document.get('to_stage')}"
        case "triggered":
            return f"triggered: {document.get('trigger')}"
        case type_ if type_ == DEAD_LETTER:
            return f"rejected: {document.get('reason')}"
        case type_ if type_ in IDENTITIES:
            return f"type: {type_}"
        case type_:
            return f"{type_}: {document.get('kind')}"


def _line(document: Document, scenario: Scenario) -> str:
    parts = [_name(document)]
    parts += [f"{key}: {document[key]}" for key in ("step", "customer_id", "message") if key in document]
    if isinstance(text := document.get("occurred_at"), str):
        at = parse_time(text)
        parts.append(f"at: {text if at < scenario.start else show_duration(at - scenario.start)}")
    return ", ".join(parts)
