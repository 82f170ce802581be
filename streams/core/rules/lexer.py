"""Split the text of a rule into tokens. Called by the parser; the work is bounded by the length of the text."""

from __future__ import annotations

import re
from typing import Final

from streams.core.model.durations import PATTERN, parse_duration
from streams.core.rules.errors import RuleError

MAX_LENGTH: Final = 2_000
"""Most characters of a rule."""
MAX_DIGITS: Final = 15
"""Most digits of a number. Arithmetic is exact up to this number of digits."""
LONGEST: Final = 100 * 365 * 86_400_000
"""Longest duration, ms: a hundred years."""

_DURATION: Final = re.compile(PATTERN + r"(?![0-9A-Za-z_.])")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?![0-9A-Za-z_.])")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_SYMBOL: Final = re.compile(r"==|!=|<=|>=|[-+*/<>()\[\],=]")
_WORD: Final = re.compile(r"[^\s()\[\],]+")
KEYWORDS: Final = frozenset({"and", "or", "not", "in", "true", "false"})


class Token:
    """A token. `kind` is `number`, `duration`, `text`, `name`, `end`, or the keyword or symbol itself."""

    def __init__(self, kind: str, text: str, ms: int, start: int, end: int) -> None:
        self.kind = kind
        self.text = text
        """The characters of the token; those of a text without its quotes."""
        self.ms = ms
        """The ms of a duration; 0 for other tokens."""
        self.start = start
        self.end = end


def tokens(text: str) -> list[Token]:
    """Return the tokens of the text, followed by one of the kind `end`. Raise RuleError."""
    if len(text) > MAX_LENGTH:
        raise RuleError(
            f"a rule can have at most {MAX_LENGTH} characters; this one has {len(text)}", MAX_LENGTH, len(text)
        )
    found: list[Token] = []
    place = 0
    while place < len(text):
        character = text[place]
        if character.isspace():
            place += 1
        else:
            token = _token(text, place, character)
            found.append(token)
            place = token.end
    found.append(Token("end", "", 0, len(text), len(text)))
    return found


def _token(text: str, place: int, character: str) -> Token:
    if character in "'\"":
        return _quoted(text, place, character)
    if character in "0123456789":
        return _number(text, place)
    match = _NAME.match(text, place)
    if match is not None:
        word = match.group()
        return Token(word if word in KEYWORDS else "name", word, 0, place, match.end())
    match = _SYMBOL.match(text, place)
    if match is not None:
        return Token(match.group(), match.group(), 0, place, match.end())
    raise RuleError(f"the character {character!r} has no meaning in a rule", place, place + 1)


def _quoted(text: str, place: int, quote: str) -> Token:
    """Return the token of a text. A quote or a backslash within it follows a backslash."""
    value: list[str] = []
    at = place + 1
    while at < len(text):
        character = text[at]
        if character == quote:
            return Token("text", "".join(value), 0, place, at + 1)
        if character == "\\":
            at += 1
            if at == len(text) or text[at] not in "\\'\"":
                raise RuleError(
                    "in a text, a backslash is allowed only before a quote or another backslash", at - 1, at
                )
            character = text[at]
        value.append(character)
        at += 1
    raise RuleError(f"this text has no closing {quote}", place, len(text))


def _number(text: str, place: int) -> Token:
    match = _DURATION.match(text, place)
    if match is not None:
        ms = parse_duration(match.group())
        if ms is None or ms > LONGEST:
            raise RuleError("a duration can be at most a hundred years", place, match.end())
        return Token("duration", match.group(), ms, place, match.end())
    match = _NUMBER.match(text, place)
    if match is not None:
        if len(match.group()) > MAX_DIGITS:
            raise RuleError(f"a number can have at most {MAX_DIGITS} digits", place, match.end())
        return Token("number", match.group(), 0, place, match.end())
    word = _WORD.match(text, place)
    end = len(text) if word is None else word.end()
    raise RuleError(
        f"{text[place : min(end, place + 32)]} is neither a number (3, 0.5) nor a duration (30d, 12h, 1d12h30m: "
        "units w, d, h, m, s, ms, the largest first)",
        place,
        end,
    )
