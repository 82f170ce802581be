"""The command line, `lifecycle`. Each command imports what it needs when it runs, so that help and mistakes are quick.

A command ends with the exit code of what it ran: 0, or 1 where that reports a failure. What the user must put right
(`UserError`) is one line on standard error and exit code 2, as are wrong options.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from streams import __version__, values
from streams.cli.options import Spread, ValueType
from streams.errors import UserError

FILE = click.Path(path_type=Path, dir_okay=False)
TIME = ValueType("time", values.parse_time)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"lifecycle: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Customer lifecycle in real time: clickstream and orders in, stage changes and abandonments out.

    Settings come from LIFECYCLE_* environment variables and the TOML file that LIFECYCLE_CONFIG names; `lifecycle
    settings` lists them.
    """


@main.command()
def worker() -> None:
    """Run a worker: one member of the consumer group, until SIGTERM or Ctrl-C."""
    from streams.settings import load
    from streams.shell.worker.command import run

    sys.exit(run(load()))


@main.command()
@click.option("--check", "only_check", is_flag=True, help="Create nothing; exit with 1 if something is wrong.")
def topics(only_check: bool) -> None:
    """Create the topics that are missing and check all of them."""
    from streams.settings import load
    from streams.shell.admin import topics

    report = topics.run(load(), create=not only_check)
    width = max(len(status.topic) for status in report)
    for status in report:
        click.echo(f"{status.topic:{width}}  {status.state:8} {status.detail}".rstrip())
    sys.exit(1 if any(status.state == "problem" for status in report) else 0)


@main.command()
@click.argument("person", metavar="CUSTOMER")
@click.option("--anonymous", is_flag=True, help="CUSTOMER is an anonymous id.")
def erase(person: str, anonymous: bool) -> None:
    """Have all that is known of a customer erased. CUSTOMER is an id, or - to read it from standard input.

    Prints the id of the request once the broker has it; the workers carry it out.
    """
    from streams.settings import load
    from streams.shell.admin import erasure_requests

    if person == "-":
        person = sys.stdin.readline().rstrip("\r\n")
    click.echo(erasure_requests.run(load(), person, identified=not anonymous))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="0 takes a free one.")
def broker(port: int) -> None:
    """Run the embedded broker in the foreground, for trying things out. It keeps everything in memory.

    Prints its address once it answers, and ends with SIGTERM or Ctrl-C.
    """
    from streams.devtools.broker import serve

    sys.exit(serve(port, announce=click.echo))


@main.command(cls=Spread)
@click.option("--clickstream", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, plain or gzip.")
@click.option("--orders", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, plain or gzip.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the output."
)
@click.option("--until", type=TIME, help="Let time pass to this instant, so that deadlines up to it fire.")
@click.option("--now", type=TIME, help="Events too far after it are dead letters; by default the present.")
@click.option("--currency", type=ValueType("code", values.CURRENCY.parse), help="For events that name none.")
def replay(
    clickstream: tuple[Path, ...],
    orders: tuple[Path, ...],
    out: Path,
    until: int | None,
    now: int | None,
    currency: str | None,
) -> None:
    """Run the lifecycle over files, without Kafka; the same input yields the same output, byte for byte."""
    if not clickstream and not orders:
        raise UserError("there is nothing to replay: name files with --clickstream or --orders.")
    import dataclasses

    from streams.replay.replay import run
    from streams.settings import load

    settings = load()
    if currency is not None:
        settings = dataclasses.replace(settings, currency=currency)
    sys.exit(run(settings, clickstream=clickstream, orders=orders, out=out, until=until, now=now))


@main.command(cls=Spread)
@click.option("--playbook", "new", required=True, metavar="FILE|NAME", help="What is tried: a path, or a shipped name.")
@click.option("--against", "old", metavar="FILE|NAME", help="What it is compared with.")
@click.option("--clickstream", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, plain or gzip.")
@click.option("--orders", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, plain or gzip.")
@click.option("--topics", is_flag=True, help="Read what the input topics hold now, instead of files.")
@click.option("--out", type=FILE, default=Path("backtest.html"), show_default=True, help="The report, one HTML file.")
@click.option("--until", type=TIME, help="Let time pass to this instant, so that deadlines up to it fire.")
@click.option("--now", type=TIME, help="Events of files too far after it are not taken; by default the present.")
def backtest(
    new: str,
    old: str | None,
    clickstream: tuple[Path, ...],
    orders: tuple[Path, ...],
    topics: bool,
    out: Path,
    until: int | None,
    now: int | None,
) -> None:
    """Try a playbook on history: what would be sent, to how many, and who would fare differently.

    Over files as `lifecycle replay` reads them, or over the topics (without a group: no worker notices).
    """
    files = bool(clickstream or orders)
    if files is topics:
        raise UserError("a history is read from files (--clickstream, --orders) or from topics (--topics): name one.")
    from streams.deployment import load_playbook
    from streams.replay import backtest
    from streams.settings import load

    settings = load()
    tried, against = (None if name is None else load_playbook(settings, name) for name in (new, old))
    assert tried is not None
    if topics:
        sys.exit(backtest.over_topics(settings, tried, against, out, until=until))
    sys.exit(
        backtest.over_files(settings, tried, against, out, clickstream=clickstream, orders=orders, until=until, now=now)
    )


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|NAME...")
def validate(files: tuple[str, ...]) -> None:
    """Check playbooks. Each mistake is told by line and column, with what is allowed; then the exit code is 2."""
    from streams.playbooks import checker

    sys.exit(checker.run(files, click.echo))


@main.command()
@click.argument("file", metavar="FILE|NAME")
@click.option("--mermaid", "form", flag_value="mermaid", help="A Mermaid state diagram.")
@click.option("--svg", "form", flag_value="svg", help="A drawing of one track.")
@click.option("--track", help="Which one is drawn; by default the first.")
def explain(file: str, form: str | None, track: str | None) -> None:
    """Tell what a playbook says, from what the engine would run: as text, or as a diagram."""
    from streams import playbooks
    from streams.playbooks import explanation

    playbook = playbooks.load(file)
    known = {each.name: each for each in playbook.tracks}
    if track is not None and track not in known:
        raise UserError(f"there is no track {track} in {file}: it has {', '.join(known)}.")
    if form == "svg":
        click.echo(explanation.svg(playbook, known.get(track or "", playbook.tracks[0])), nl=False)
    else:
        click.echo(explanation.mermaid(playbook) if form == "mermaid" else explanation.text(playbook), nl=False)


@main.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[FILE|DIR]...")
def test(paths: tuple[Path, ...]) -> None:
    """Run scenarios: YAML files of events, waiting, and the outputs that are expected.

    In a DIR, the files *.scenarios.yaml are run; without any, those that come with the shipped playbooks.
    """
    from streams.replay import scenario_command
    from streams.settings import load

    sys.exit(
        scenario_command.run_all(paths or (scenario_command.SHIPPED,), load(), scenario_command.playbook_of(load()))
    )


@main.command()
@click.option("--once", is_flag=True, help="End after the history, with a summary.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated shoppers.")
@click.option(
    "--broker",
    type=ValueType("address", lambda text: text if text == "kafka" else values.BROKERS.parse(text)),
    help="Use this Kafka instead of the embedded broker. Topics are made on it, named demo-…, and deleted at the end. "
    "`kafka` starts an Apache Kafka for the demo; it needs Java 17, and Maven the first time.",
)
def demo(once: bool, seed: int, broker: str | None) -> None:
    """Watch it work: real shop history through Kafka at high speed, then simulated shoppers, live."""
    from streams.demo.main import run

    sys.exit(run(once=once, seed=seed, broker=broker))


@main.command()
@click.option("--markdown", is_flag=True, help="The reference, as in docs/settings.md.")
def settings(markdown: bool) -> None:
    """List all settings with their values and where these come from."""
    from streams.cli import listing
    from streams.settings import load_with_origins

    if markdown:
        click.echo(listing.reference(), nl=False)
    else:
        for line in listing.current(*load_with_origins()):
            click.echo(line)
