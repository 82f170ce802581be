"""From a playbook's text to the `Playbook` that the engine runs."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.contracts.money import EXPONENTS
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.policy import Policy
from streams.errors import UserError
from streams.playbooks.builder import build
from streams.playbooks.format import PLAYBOOK
from streams.playbooks.key_kinds import InvalidValue, Problems
from streams.playbooks.problems import PlaybookError, suggestion
from streams.playbooks.yaml_tree import Malformed, compose

_HERE: Final = Path(__file__).parent
SHIPPED: Final = tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))
"""The names of those that come with the program."""
DEFAULT: Final = "ecommerce"


def load(source: str | Path = DEFAULT, deployment: Policy = Policy()) -> Playbook:
    """The playbook of that path, or the shipped one of that name.

    `deployment` has the numbers that no playbook names, such as the lateness, and the currency where it names none.
    Raises `UserError` if it cannot be read, `PlaybookError` if it cannot be used.
    """
    if deployment.currency not in EXPONENTS:
        raise UserError(f"the currency {deployment.currency} is not known: take a code of ISO 4217, such as EUR.")
    path = _path(source)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"the playbook {path} is not UTF-8 text.") from None
    except OSError as error:
        raise UserError(f"the playbook {path} cannot be read: {error.strerror}.") from None
    return _parsed(text, str(source), deployment)


@lru_cache(maxsize=16)
def _parsed(text: str, name: str, deployment: Policy) -> Playbook:
    return parse(text, name, deployment)


def parse(text: str, name: str = "playbook", deployment: Policy = Policy()) -> Playbook:
    """As `load`, of a text; `name` is put before problems."""
    problems: Problems = []
    try:
        tree = compose(text, "a playbook")
        if tree is None:
            raise Malformed(1, 1, "the file is empty: a playbook begins with `playbook: NAME`")
        found = PLAYBOOK.read(tree, problems)
    except Malformed as error:
        raise PlaybookError(name, [error.problem]) from None
    except InvalidValue as error:
        raise PlaybookError(name, [error.problem]) from None
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    playbook = None if problems else build(found, digest, problems, deployment)
    if playbook is None:
        raise PlaybookError(name, problems)
    return playbook


def _path(source: str | Path) -> Path:
    text = str(source)
    if text in SHIPPED:
        return _HERE / f"{text}.yaml"
    path = Path(text).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in text or path.exists():
        return path
    raise UserError(f"there is no playbook {text[:64]!r}{suggestion(text, SHIPPED)}; or give the path of a .yaml file.")
