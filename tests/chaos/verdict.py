"""The verdict of a chaos run: outputs and profiles of the workers are compared with a replay of the same log."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streams.contracts import times
from streams.contracts.profiles import profile_document
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.profile.codec import pack
from streams.core.profile.profile import Profile
from streams.core.store.task_state import TaskState
from streams.replay.input_files import Lines
from streams.replay.replay import Replay
from streams.replay.result_files import ABANDONMENTS, IDENTITIES, STAGE_CHANGES, Results
from streams.settings import Settings
from streams.shell.commit.metadata import MARKER_KEY
from tests.chaos.history import FRAME, Event
from tests.support.default_playbook import default_playbook

Documents = list[dict[str, Any]]
AT = "(came at)"
Profiles = dict[bytes, Profile]


COUNTS = ("missing", "extra", "orphaned", "taken_back", "false_abandonments", "differing", "repeated", "early")


class Expected(NamedTuple):
    """The outputs and profiles of a replay of the log."""

    outputs: dict[str, dict[str, Any]]
    """Outputs by id."""
    profiles: Profiles


class Verdict(msgspec.Struct, kw_only=True):
    """Counts, and the judgement about them. One line of the results file."""

    program: str
    mode: str
    seed: int
    harm: dict[str, float]
    """The work done, in figures: kills, restarts, seconds of outage, …"""
    events: int
    outputs: int
    """Expected outputs."""
    profiles: int
    missing: int
    extra: int
    """Unexpected outputs."""
    orphaned: int
    """Among the unexpected: outputs of activities that another run of the same events has overtaken."""
    taken_back: int
    """Among the unexpected: abandonments that were retracted, and the retractions."""
    false_abandonments: int
    """Among the unexpected: abandonments that were not retracted."""
    differing: int
    """Outputs with an expected id and other contents, or with two contents."""
    repeated: int
    """Outputs repeated with the same id."""
    wrong_profiles: int
    early: int
    """Outputs that arrived before they were due, by the broker's clock."""
    limits: dict[str, tuple[float, float]] = {}
    """Measurements with their upper bounds."""
    minima: dict[str, tuple[float, float]] = {}
    """Measurements of the fault with their lower bounds: a fault that did not happen shows nothing."""
    failed_stops: int = 0
    """Workers that were stopped and did not end with 0."""
    tolerates: tuple[str, ...] = ()
    """Those of orphaned, taken_back and repeated that may be more than 0."""
    seconds: float = 0.0
    notes: dict[str, Any] = {}
    """Further remarks."""
    amounts: dict[str, float] = {}
    """The amounts asked for."""
    commit: str = ""
    """The commit of this project that ran; with `-dirty` if files differed from it."""
    date: str = ""
    """The date, in UTC."""

    @property
    def ok(self) -> bool:
        """Return True if no forbidden difference was found, and the fault was produced often enough."""
        counted = self.orphaned + self.taken_back + self.false_abandonments
        never = self.missing or self.false_abandonments or self.differing or self.wrong_profiles or self.early
        tolerable = {name: getattr(self, name) for name in ("orphaned", "taken_back", "repeated")}
        return not (
            never
            or self.failed_stops
            or self.extra > counted
            or any(count for name, count in tolerable.items() if name not in self.tolerates)
            or any(measured > most for measured, most in self.limits.values())
            or any(measured < least for measured, least in self.minima.values())
        )

    def sentence(self) -> str:
        """Return the printed verdict."""
        harm = ", ".join(f"{name} {figure:g}" for name, figure in self.harm.items())
        counts = ", ".join(f"{name.replace('_', ' ')} {getattr(self, name)}" for name in COUNTS)
        bounds = "".join(f"; {bound}" for bound in self.bounds("{name} {measured:g} of at {end} {bound:g}"))
        notes = "".join(f"; {name} {value}" for name, value in self.notes.items())
        return (
            f"{'ok  ' if self.ok else 'FAIL'} {self.program} ({self.mode}, seed {self.seed}; {harm}; "
            f"{self.seconds:.0f} s): {self.events} events, {self.outputs} outputs: {counts}; "
            f"{self.profiles} profiles: wrong {self.wrong_profiles}; failed stops {self.failed_stops}{bounds}{notes}"
        )

    def bounds(self, form: str) -> list[str]:
        """Yield minima and limits, as (name, measured, end, bound) where end is "least" or "most"."""
        return [
            form.format(name=name, measured=measured, end=end, bound=bound)
            for end, held in (("least", self.minima), ("most", self.limits))
            for name, (measured, bound) in held.items()
        ]


def ended(found: Mapping[int, int], allowed: Mapping[int, int]) -> dict[str, tuple[float, float]]:
    """Return limits for workers that ended by themselves: how many did and how many may, by exit code."""
    return {f"ended with {code}": (found.get(code, 0), allowed.get(code, 0)) for code in sorted({*found, *allowed})}


def expected(settings: Settings, events: Iterable[Event], until: int, directory: Path) -> Expected:
    """Replay the events in this order, until a time."""
    directory.mkdir()
    files = {source: directory / f"{source.name.lower()}.jsonl" for source in Source}
    lines: dict[Source, list[str]] = {source: [] for source in Source}
    for event in events:
        lines[event.source].append(json.dumps(event.fields) + "\n")
    for source, file in files.items():
        file.write_text("".join(lines[source]))
    with (
        Lines([files[Source.CLICKSTREAM]]) as clicks,
        Lines([files[Source.ORDERS]]) as orders,
        Results(directory) as results,
    ):
        inputs = {Source.CLICKSTREAM: clicks, Source.ORDERS: orders}
        replay = Replay(settings, inputs, results, until=until, now=until)
        while replay.step():
            pass
        replay.finish()
        results.publish()
        profiles = profiles_of(replay.state)
    documents = [
        json.loads(line)
        for name in (STAGE_CHANGES, ABANDONMENTS, IDENTITIES)
        for line in (directory / name).read_text().splitlines()
    ]
    return Expected({document["id"]: document for document in documents}, profiles)


def recovered(changelog: Iterable[Any]) -> Profiles:
    """Return the profiles that a worker would recover from these records, in the order of their partitions."""
    state = TaskState()
    for record in changelog:
        if record.key != MARKER_KEY:
            state.restore(record.key, record.value)
    return profiles_of(state)


def profiles_of(state: TaskState) -> Profiles:
    """Return the profiles of a state, without those of the frame."""
    found = {}
    for key in state:
        profile = state.get(key)
        if profile is not None and profile.stage is not None and not profile.customer.startswith(FRAME):
            found[key] = profile
    return found


def bare(profile: Profile) -> bytes:
    """Return a profile without the parts that depend on the worker and the time of its work. The rest must be equal to
    the last bit."""
    profile.applied = [-1] * len(profile.applied)
    profile.commit = 0
    profile.pending = []
    profile.of_upstreams = None
    return pack(profile)


COUNTED = (
    "customer_id", "identified", "orders", "revenue", "product_views", "first_seen_at", "last_seen_at",
    "last_activity_at", "last_order_at",
)  # fmt: skip


def counted(profile: Profile) -> dict[str, Any]:
    """Return the counts of a profile that do not depend on the order of its events."""
    document = profile_document(profile, Lifecycle(default_playbook()).summary(profile))
    return {name: document[name] for name in COUNTED}


def differing_profiles(right: Profiles, found: Profiles, view: Callable[[Profile], object] = bare) -> list[bytes]:
    """Return the keys of profiles that are missing, unexpected or different."""
    return sorted(
        key
        for key in right.keys() | found.keys()
        if key not in right or key not in found or view(right[key]) != view(found[key])
    )


def abandonments(outputs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the first steps, reduced to the fields that identify them."""
    cut = ["id", "type", "customer_id", "kind", "occurred_at", "abandonment_id"]
    return {
        id: {name: document[name] for name in cut}
        for id, document in outputs.items()
        if document["type"] == "abandoned" and document["step"] == 1
    }


def standing(received: Documents) -> Documents:
    """Return the abandonments that were not retracted, in the form of `abandonments`."""
    retracted = {document["abandonment_id"] for document in received if document["type"] == "retracted"}
    kept = abandonments({document["id"]: document for document in received})
    return [document for id, document in kept.items() if id not in retracted]


class Comparison(NamedTuple):
    """The outputs received, sorted by the kind of difference."""

    missing: list[str]
    orphaned: Documents
    taken_back: Documents
    false_abandonments: Documents
    unexplained: Documents
    differing: list[str]
    repeated: int
    early: int


def compare(right: Mapping[str, dict[str, Any]], received: Iterable[dict[str, Any]]) -> Comparison:
    """Compare the outputs that subscribers received with the expected ones. `AT` in a document is its arrival, by the
    broker's clock."""
    said: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    early = 0
    for document in received:
        if not document["customer_id"].startswith(FRAME):
            said[document["id"]].append({name: value for name, value in document.items() if name != AT})
            early += AT in document and document[AT] < times.parse(document["occurred_at"])
    retracted = {d["abandonment_id"] for ds in said.values() for d in ds if d["type"] == "retracted"}
    kinds: defaultdict[str, Documents] = defaultdict(list)
    for id, documents in said.items():
        if id not in right:
            kinds[_kind(documents[0], retracted)].append(documents[0])
    return Comparison(
        missing=sorted(id for id, d in right.items() if id not in said and not d["customer_id"].startswith(FRAME)),
        orphaned=kinds["orphaned"],
        taken_back=kinds["taken_back"],
        false_abandonments=kinds["false_abandonment"],
        unexplained=kinds["unexplained"],
        differing=sorted(
            id
            for id, documents in said.items()
            if any(document != right.get(id, documents[0]) for document in documents)
        ),
        repeated=sum(len(documents) - 1 for documents in said.values()),
        early=early,
    )


def _kind(document: dict[str, Any], retracted: set[str]) -> str:
    """Return the kind of an unexpected output."""
    if document["type"] == "stage_changed":
        return "orphaned" if document["cause"]["kind"] == "activity" else "unexplained"
    if "abandonment_id" not in document:
        return "unexplained"
    if document["abandonment_id"] in retracted:
        return "taken_back"
    if document["type"] == "abandoned":
        return "false_abandonment"
    return "orphaned" if document["type"] == "recovered" else "unexplained"


def tally(documents: Documents) -> Counter[str]:
    """Return the kinds of these outputs, for a note."""
    return Counter(f"{d['type']} {d.get('to_stage') or d.get('kind') or ''}".strip() for d in documents)
