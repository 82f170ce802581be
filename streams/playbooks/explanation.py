"""`lifecycle explain`: a playbook as text for people, as Mermaid, or as SVG, from the tables that the engine runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track
from streams.core.lifecycle.triggers import Trigger
from streams.playbooks.diagram import draw
from streams.playbooks.transition_rows import rows_of
from streams.values import show_duration

NOTE = "solid: by an event, dashed: by a deadline"


def text(playbook: Playbook) -> str:
    """What the playbook says, in the order in which people ask."""
    return "\n".join(_text(playbook)) + "\n"


def _text(playbook: Playbook) -> Iterator[str]:
    yield f"{playbook.name}, version {playbook.version}"
    for track in playbook.tracks:
        yield ""
        yield f"track {track.name}: begins as {track.initial}"
        rows = rows_of(track)
        width = max((len(row.target) for row in rows), default=0)
        for row in rows:
            yield f"  {row.target:{width}}  {'after' if row.is_timeout else 'when'} {_said(row.label, row.is_timeout)}"
            yield f"  {'':{width}}    from {', '.join(row.sources)}"
    policy = playbook.policy
    if playbook.abandonment:
        yield ""
        yield "abandonment"
        ladders = {"browse": (), "cart": policy.cart_ladder, "checkout": policy.checkout_ladder}
        windows = {"browse": policy.browse_window, "cart": policy.cart_window, "checkout": policy.checkout_window}
        for kind in policy.precedence:
            again = ", again after " + " and ".join(map(show_duration, ladders[kind])) if ladders[kind] else ""
            yield f"  {kind:8}  after {show_duration(windows[kind])} without activity{again}"
        if policy.browse_silent_after_order:
            yield f"  browse is silent for {show_duration(policy.browse_silent_after_order)} after an order"
        same = "" if policy.cool_down_per_kind else ", if its content was the same"
        yield f"  silent for {show_duration(policy.cool_down)} after one of the same or a higher kind{same}"
        yield f"  recovered by an order within {show_duration(policy.recovery_window)}"
        yield f"  expired after {show_duration(policy.expiry)}"
    yield ""
    forget = {"known": policy.forget_identified, "anonymous": policy.forget_unidentified}
    for who, after in forget.items():
        when = "never" if after is None else f"after {show_duration(after)}"
        yield f"forgotten, if {who} and without an order: {when}"
    if playbook.triggers:
        yield ""
        yield "triggers"
    for trigger in playbook.triggers:
        yield f"  {trigger.name}"
        for line in _trigger(trigger):
            yield f"    {line}"


def _trigger(trigger: Trigger) -> Iterator[str]:
    if trigger.events:
        yield f"on {', '.join(sorted(trigger.events))}"
    if (stage := trigger.on_stage) is not None:
        for way, stages in (("entered", stage.enters), ("left", stage.leaves)):
            if stages is not None:
                yield f"on {', '.join(sorted(stages))} {way}, of {stage.track}"
        if stage.enters is None and stage.leaves is None:
            yield f"on every change of {stage.track}"
    if (abandonment := trigger.on_abandonment) is not None:
        kinds = ", ".join(sorted(abandonment.kinds)) if abandonment.kinds is not None else "anything"
        step = f", step {abandonment.step}" if abandonment.step is not None else ""
        yield f"on {kinds} {', '.join(sorted(abandonment.types))}{step}"
    if (time := trigger.on_time) is not None:
        before = f"{show_duration(time.before)} before " if time.before else "at "
        yield f"{before}{time.rule.text}{', each year' if time.yearly else ''}"
    for word, rule in (("when", trigger.when), ("unless", trigger.unless)):
        if rule is not None:
            yield f"{word} {rule.text}"
    if len(trigger.steps) > 1 or trigger.steps[0].after:
        yield f"after {', '.join(show_duration(step.after) for step in trigger.steps)}"
    if trigger.cool_down:
        yield f"not again within {show_duration(trigger.cool_down)}"
    if trigger.cap is not None:
        yield f"at most {trigger.cap} time{'' if trigger.cap == 1 else 's'} per customer"
    if trigger.holdout:
        yield f"{trigger.holdout} of 100 customers are held out"


def _said(text: str, late: bool) -> str:
    return text.replace(" after ", " since ", 1) if late else text


def mermaid(playbook: Playbook) -> str:
    """A state diagram; with several tracks, one that holds each as a state of its own."""
    lines = ["stateDiagram-v2"]
    for track in playbook.tracks:
        inner = list(_mermaid(track))
        if len(playbook.tracks) > 1:
            inner = [f'state "{_label(track.name)}" as {_id(track.name)} {{', *(f"    {line}" for line in inner), "}"]
        lines += [f"    {line}" for line in inner]
    return "\n".join(lines) + "\n"


def _mermaid(track: Track) -> Iterator[str]:
    for stage in track.stages:
        yield f'state "{_label(stage)}" as {_id(track.name, stage)}'
    yield f"[*] --> {_id(track.name, track.initial)}"
    for row in rows_of(track):
        for source in row.sources:
            yield f"{_id(track.name, source)} --> {_id(track.name, row.target)}: {_label(row.label)}"


def _id(*names: str) -> str:
    """A name that Mermaid takes for one, whatever the playbook calls it."""
    return "_".join(re.sub(r"\W", lambda found: f"x{ord(found[0]):x}", name) for name in names)


def _label(text: str) -> str:
    """Characters that mean something to Mermaid go as entities."""
    return re.sub(r"[#;:\"<{}\n]", lambda found: f"#{ord(found[0])};", text)


def svg(playbook: Playbook, track: Track) -> str:
    """The diagram of one track."""
    note = f"{playbook.name}, version {playbook.version} · {NOTE}"
    return draw(track.name, note, track.initial, track.stages, rows_of(track))
