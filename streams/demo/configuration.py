"""The two parts of the demo, as settings of their workers."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from streams import playbooks
from streams.demo.data import cache_dir
from streams.devtools.ports import reserve_port
from streams.settings import FIELDS, PREFIX, Settings
from streams.values import show_duration

PartName = Literal["history", "live"]

PLAYBOOKS: Final[dict[PartName, str]] = {
    "history": playbooks.DEFAULT,
    "live": str(Path(__file__).with_name("live.yaml")),
}
"""The history is judged by the playbook as it is. Live one would wait an hour for a cart: the windows are shortened."""

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
"""For a broker of the demo's own: where it is the embedded one, joining a group waits for these. Another Apache Kafka
refuses such a session, unless it is set to take it."""


def environment(part: PartName, broker: str, prefix: str, *, own: bool) -> dict[str, str]:
    """The LIFECYCLE_* variables of a part's worker. Topics and group have their default names behind `prefix`."""
    if part == "live":
        prefix += "live-"
    chosen = {key: prefix + name for key, name in Settings().topics.items()}
    chosen |= {"broker": broker, "app_id": prefix + Settings().app_id}
    chosen |= {"data_dir": str(cache_dir() / "worker"), "web_port": str(reserve_port())}
    chosen |= _COMMON | (_LIVE if part == "live" else {}) | (_QUICK_GROUP if own else {})
    assert chosen.keys() <= FIELDS.keys()
    return {PREFIX + key.upper(): text for key, text in chosen.items()}


def windows(part: PartName) -> str:
    """Which windows are in force, in one line."""
    playbook = playbooks.load(PLAYBOOKS[part])
    policy = playbook.policy
    named = {
        "browse": policy.browse_window,
        "cart": policy.cart_window,
        "checkout": policy.checkout_window,
    }
    named |= {
        lapse.target.replace("_", " "): lapse.after for track in playbook.tracks for lapse in track.timeout_transitions
    }
    return ", ".join(f"{name} {show_duration(window)}" for name, window in named.items())
