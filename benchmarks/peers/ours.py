"""This project's worker, as `lifecycle worker` runs it, with the common job as its playbook.

The job is a definition that the real engine runs: its track from the rules, its counts and its cart. What the job does
not ask for is off in the definition (abandonment, sessions, forgetting, event ids); all else is what a worker always
does: checks of what it reads, watermarks, the changelog, commits, metrics.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

from benchmarks.job import PARTITIONS, RULES, TYPES
from benchmarks.peers import arguments
from benchmarks.peers.arguments import Arguments
from streams import values
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track, Transition
from streams.core.model.cart import CartOperationKind
from streams.core.model.policy import Policy
from streams.core.rules.compiler import CompiledRule, compile_rule
from streams.core.rules.vocabulary import Vocabulary
from streams.settings import Settings, load
from streams.shell.admin import topics
from streams.shell.worker.command import run

COMMIT_S = 1.0
"""The worker's default."""


def _counted(type_: str, number: int) -> CompiledRule:
    """Return the rule for `number` events of a type, as the file of a playbook would have it."""
    return compile_rule(f"count('{type_}') >= {number}", Vocabulary())


PLAYBOOK: Final = Playbook(
    policy=Policy(forget_identified=None, forget_unidentified=None, lateness=0, event_ids=0),
    tracks=(Track("common", "visitor", tuple(Transition(of, to, _counted(kind, n)) for of, to, kind, n in RULES)),),
    abandonment=False,
    sessions=False,
    cart={
        "product_added": CartOperationKind.ADD,
        "product_removed": CartOperationKind.REMOVE,
        "order_completed": CartOperationKind.EMPTY,
    },
    counted_types=frozenset(TYPES),
)


def settings(given: Arguments) -> Settings:
    """Return the worker's settings. All topics but that of the outputs have names of this run, so that runs share
    nothing."""
    names = {name: f"{given.group}-{name}" for name in ("orders", "abandonments", "triggers", "dead-letters")}
    return load(
        {
            "LIFECYCLE_BROKER": given.bootstrap,
            "LIFECYCLE_APP_ID": given.group,
            "LIFECYCLE_PARTITIONS": str(PARTITIONS),
            "LIFECYCLE_CLICKSTREAM_TOPIC": given.input,
            "LIFECYCLE_STAGE_CHANGES_TOPIC": given.output,
            **{f"LIFECYCLE_{name.upper().replace('-', '_')}_TOPIC": topic for name, topic in names.items()},
            "LIFECYCLE_COMMIT_INTERVAL": f"{given.interval(COMMIT_S):g}s",
            "LIFECYCLE_LATENESS": "0s",
            "LIFECYCLE_EMIT_AFTER": "always",
            "LIFECYCLE_DATA_DIR": str(given.state_dir),
            "LIFECYCLE_WEB_PORT": "0",
            "LIFECYCLE_LOG_LEVEL": "warning",
        }
    )


def prepare(given: Arguments) -> None:
    """Create the missing topics. Called before the worker is started, like `lifecycle topics`."""
    asyncio.run(topics.ensure(settings(given)))


def as_output(value: bytes) -> dict[str, Any]:
    """Return a stage change in the fields of the job's outputs."""
    change = json.loads(value)
    return {
        "customer": change["customer_id"],
        "from": change["from_stage"],
        "to": change["to_stage"],
        "at": values.parse_time(change["occurred_at"]),
        "sequence": change["sequence"],
    }


if __name__ == "__main__":
    given = arguments.parse(__doc__)
    arguments.ready()
    sys.exit(run(settings(given), playbook=PLAYBOOK))
