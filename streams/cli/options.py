"""Additions to click: options that take one or more values, and options with types of `streams.values`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click


class ValueType(click.ParamType):
    """Type of an option whose value one of the parsers of `streams.values` reads."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; called by click for each value."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value} {error}.", param, ctx)


class Spread(click.Command):
    """A command without arguments whose `multiple` options take one or more values each: `--orders a b c`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Expand `--orders a b` to `--orders a --orders b`; called by click."""
        options = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        return super().parse_args(ctx, list(_spread(args, options)))


def _spread(args: list[str], options: set[str]) -> Iterator[str]:
    current, values = "", 0
    for arg in args:
        if arg.startswith("-") and arg != "-":
            _require(current, values)
            name, assigned, _ = arg.partition("=")
            current, values = (name, 1 if assigned else 0) if name in options else ("", 0)
            if assigned or not current:
                yield arg
        elif current:
            values += 1
            yield from (current, arg)
        else:
            yield arg
    _require(current, values)


def _require(option: str, values: int) -> None:
    if option and not values:
        raise click.BadOptionUsage(option, f"Option '{option}' requires at least one file.")
