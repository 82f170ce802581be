"""The default playbook as tests run it: the shipped one, without a name, version or digest of its own.

So profiles carry no trace of its text, and a playbook with other fields counts as the same one.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streams import playbooks
from streams.core.lifecycle.playbook import Playbook

_DEFAULT: Final = msgspec.structs.replace(playbooks.load(), name="default", version=0, digest="")

LIFECYCLE: Final = _DEFAULT.tracks[0]


def default_playbook(**fields: Any) -> Playbook:
    """Return the default playbook with these fields replaced."""
    return msgspec.structs.replace(_DEFAULT, **fields)
