"""Load playbooks: read a text, check it, and build the `Playbook` that the engine runs."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.core.lifecycle.playbook import Playbook
from streams.core.model.currencies import EXPONENTS
from streams.core.model.policy import Policy
from streams.core.rules.errors import suggestion
from streams.errors import UserError
from streams.playbooks.builder import build
from streams.playbooks.format import PLAYBOOK
from streams.playbooks.key_kinds import InvalidValue, Problems
from streams.playbooks.problems import PlaybookError
from streams.playbooks.yaml_tree import MalformedYaml, compose

_HERE: Final = Path(__file__).parent
SHIPPED: Final = tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))
"""Names of the playbooks that are part of the package."""
DEFAULT: Final = "ecommerce"


def load(source: str | Path = DEFAULT, deployment: Policy = Policy()) -> Playbook:
    """Return the playbook at a path, or the shipped one of a name.

    `deployment` has the numbers that no playbook sets, such as the lateness, and the currency for playbooks that set
    none. Raise `UserError` if the file cannot be read, `PlaybookError` if the playbook cannot be used.
    """
    if deployment.currency not in EXPONENTS:
        raise UserError(f"the currency {deployment.currency} is unknown: use a code of ISO 4217, such as EUR.")
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
    """Return the playbook in a text. Messages of problems begin with `name`. Raise `PlaybookError`."""
    problems: Problems = []
    try:
        tree = compose(text, "a playbook")
        if tree is None:
            raise MalformedYaml(1, 1, "the file is empty: a playbook begins with `playbook: NAME`")
        found = PLAYBOOK.read(tree, problems)
    except MalformedYaml as error:
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
    hint = suggestion(text, SHIPPED)
    end = "" if hint.endswith("?") else "."
    raise UserError(f"there is no playbook {text[:64]!r}{hint}{end} To load a file, give the path of a .yaml file.")
