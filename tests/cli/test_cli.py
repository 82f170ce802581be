"""The command line: options, help, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streams import __version__
from streams.cli import main
from streams.cli.options import Spread

COMMANDS = [
    "backtest", "broker", "demo", "erase", "explain", "plan", "replay", "settings", "test", "topics", "validate",
    "worker",
]  # fmt: skip


def lifecycle(*args: str, **environ: str) -> Result:
    return CliRunner().invoke(main, args, env=environ)


@click.command(cls=Spread)
@click.option("--clickstream", multiple=True)
@click.option("--orders", multiple=True)
@click.option("--out")
def spread(clickstream: tuple[str, ...], orders: tuple[str, ...], out: str | None) -> None:
    click.echo(f"{' '.join(clickstream)}|{' '.join(orders)}|{out}")


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        ("--clickstream a b --orders c", "a b|c|None"),
        ("--orders c --clickstream a b --out d", "a b|c|d"),
        ("--clickstream a --out d --clickstream b", "a b||d"),
        ("--clickstream=a b --orders -", "a b|-|None"),
        ("", "||None"),
    ],
)
def test_option_takes_several_values(args: str, seen: str) -> None:
    result = CliRunner().invoke(spread, args.split())
    assert result.output == seen + "\n"


@pytest.mark.parametrize("args", ["--clickstream", "--clickstream --orders c", "--orders c --clickstream", "a b"])
def test_misused_option_of_several_values_is_a_mistake(args: str) -> None:
    assert CliRunner().invoke(spread, args.split()).exit_code == 2


def test_version_is_printed() -> None:
    assert __version__ in lifecycle("--version").output


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    result = lifecycle(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_every_command_is_listed_here() -> None:
    assert sorted(main.commands) == COMMANDS


def test_mistake_prints_one_line_and_gives_exit_code_2() -> None:
    result = lifecycle("settings", LIFECYCLE_LATENES="1m")
    assert result.exit_code == 2
    assert result.stderr == "lifecycle: LIFECYCLE_LATENES is not a setting: did you mean LIFECYCLE_LATENESS?\n"
    assert result.stdout == ""


def test_replay_without_inputs_is_a_mistake() -> None:
    result = lifecycle("replay", "--out", "x")
    assert result.exit_code == 2
    assert "there is nothing to replay" in result.stderr


@pytest.mark.parametrize("option", [("--until", "yesterday"), ("--now", "2026-11-21"), ("--currency", "euro")])
def test_invalid_value_of_a_replay_option_is_a_mistake(option: tuple[str, str]) -> None:
    result = lifecycle("replay", "--out", "x", "--orders", "y", *option)
    assert result.exit_code == 2
    assert f"{option[1]} is not" in result.stderr


def test_help_loads_no_faust(tmp_path: Path) -> None:
    program = "import sys; from streams.cli import main; main(['--help'], standalone_mode=False); " \
        "sys.exit(bool({'faust', 'aiokafka', 'rich', 'prometheus_client'} & sys.modules.keys()))"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL).returncode == 0
