"""Which outputs leave: what is too early, too late, or follows from what did not leave, is withheld and counted.

Counted as `outputs_withheld` (`streams.core.model.counters`).
"""

from __future__ import annotations

from streams.core.model.counters import EngineCounters
from streams.core.model.outputs import Abandonment, EmissionPolicy, IdentityChange, Output, StageChange, Triggered
from streams.core.profile.profile import Profile


class OutputFilter:
    """Of one engine, asked for each output once."""

    def __init__(self, emission: EmissionPolicy) -> None:
        self._emission = emission
        self.now = 0
        """ms, as of the last call of the engine."""
        self.clock_trusted = True

    def passes(self, profile: Profile, output: Output, held: bool, counts: EngineCounters) -> bool:
        """Whether the output leaves. `held`: while a source is silent, so that what silence says does not."""
        reason: str | None = None
        emission = self._emission
        before_start = emission.emit_after is not None and output.occurred_at < emission.emit_after
        if isinstance(output, StageChange):
            reason = "before_emit_after" if before_start else None
            kind = "stage_changed"
        elif isinstance(output, IdentityChange):
            reason = "before_emit_after" if before_start and output.type != "erased" else None
            kind = output.type
        elif isinstance(output, Triggered):
            kind = "triggered"
            if output.output_id is not None and profile.is_withheld(output.output_id):
                reason = "follows_withheld"
            else:
                reason = "before_emit_after" if before_start else self._untimely(output, held)
        else:
            kind = output.type
            if output.type == "abandoned" and output.step == 1:
                reason = "before_emit_after" if before_start else self._untimely(output, held)
                profile.note_withheld(output.abandonment_id, reason is not None)
            elif profile.is_withheld(output.abandonment_id):
                reason = "follows_withheld"
            elif output.type == "abandoned":
                reason = self._untimely(output, held)
            # What became of an abandonment that was sent is always sent: it takes it back or closes it.
        if reason is None:
            return True
        counts["outputs_withheld", f"{kind}/{reason}"] += 1
        return False

    def _untimely(self, output: Abandonment | Triggered, held: bool) -> str | None:
        limit = self._emission.max_delay
        if limit is not None and self.clock_trusted and self.now - output.occurred_at > limit:
            return "delayed"
        return "source_silent" if held else None
