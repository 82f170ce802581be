"""Settings of the workers of the demo's two phases."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from streams import playbooks
from streams.demo.shop_history import cache_dir
from streams.devtools.ports import reserve_port
from streams.settings import FIELDS, PREFIX, Settings
from streams.values import show_duration

PhaseName = Literal["history", "live"]

PLAYBOOKS: Final[dict[PhaseName, str]] = {
    "history": playbooks.DEFAULT,
    "live": str(Path(__file__).with_name("live.yaml")),
}
"""The history runs with the default playbook. Live, its windows would take too long (an hour for a cart), so the live
playbook has short ones."""

_COMMON: Final = {
    "emit_after": "always",
    "max_emit_delay": "off",
    "backfill_idle": "2s",
    "commit_interval": "500ms",
    "shutdown_timeout": "3s",
    "log_level": "warning",
    "identity_resolution": "on",
}
_LIVE: Final = {"playbook": PLAYBOOKS["live"], "lateness": "1s", "clickstream_delay": "1s", "orders_delay": "1s"}
_QUICK_GROUP: Final = {"session_timeout": "3s", "heartbeat_interval": "1s", "rebalance_timeout": "1s"}
"""Only for a broker that the demo starts: on the embedded one, joining a group waits for these times. Another Apache
Kafka refuses such a short session, unless it is configured to accept it."""


def environment(phase: PhaseName, broker: str, prefix: str, *, own: bool) -> dict[str, str]:
    """Return the LIFECYCLE_* variables of a phase's worker. Names of topics and group are `prefix` and their defaults.

    `own` is True for a broker that the demo starts.
    """
    if phase == "live":
        prefix += "live-"
    chosen = {key: prefix + name for key, name in Settings().topics.items()}
    chosen |= {"broker": broker, "app_id": prefix + Settings().app_id}
    chosen |= {"data_dir": str(cache_dir() / "worker"), "web_port": str(reserve_port())}
    chosen |= _COMMON | (_LIVE if phase == "live" else {}) | (_QUICK_GROUP if own else {})
    assert chosen.keys() <= FIELDS.keys()
    return {PREFIX + key.upper(): text for key, text in chosen.items()}


def windows(phase: PhaseName) -> str:
    """Return the windows in force, in one line."""
    playbook = playbooks.load(PLAYBOOKS[phase])
    policy = playbook.policy
    named = {
        "browse": policy.browse_window,
        "cart": policy.cart_window,
        "checkout": policy.checkout_window,
    }
    named |= {
        transition.target.replace("_", " "): transition.after
        for track in playbook.tracks
        for transition in track.timeout_transitions
    }
    return ", ".join(f"{name} {show_duration(window)}" for name, window in named.items())
