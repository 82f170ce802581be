"""The command line, `lifecycle`. Each command imports its modules when it runs, so that help and errors are quick.

Exit codes: 0 for success, 1 for a failure, 2 for an error of the user (`UserError`, printed as one line on standard
error) and for wrong options.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from streams import __version__, values
from streams.cli.options import Spread, ValueType
from streams.errors import UserError
from streams.replay import MAX_REJECTED

FILE = click.Path(path_type=Path, dir_okay=False)
TIME = ValueType("time", values.parse_time)

# Options of `replay` and `backtest`.
CLICKSTREAM = click.option(
    "--clickstream", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, a JSON array or CSV."
)
ORDERS = click.option("--orders", type=FILE, multiple=True, metavar="FILE...", help="JSON Lines, a JSON array or CSV.")
UNTIL = click.option("--until", type=TIME, help="Advance time to this instant, so that deadlines up to it fire.")
SORT = click.option("--sort", is_flag=True, help="Sort the files by time first: they are not in time order.")
REJECTED = click.option(
    "--max-rejected",
    type=click.FloatRange(0, 100),
    default=MAX_REJECTED,
    show_default=True,
    metavar="PERCENT",
    help="The exit code is 1 if more of the records are rejected.",
)


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
@click.option(
    "--accept-playbook",
    is_flag=True,
    help="Start although the group's last commits were made under another playbook, or a higher version.",
)
def worker(accept_playbook: bool) -> None:
    """Run a worker: one member of the consumer group, until SIGTERM or Ctrl-C."""
    from streams.settings import load
    from streams.shell.worker.command import run

    sys.exit(run(load(), accept_playbook=accept_playbook))


@main.command()
@click.option("--playbook", metavar="FILE|NAME", help="Playbook to plan; by default that of LIFECYCLE_PLAYBOOK.")
def plan(playbook: str | None) -> None:
    """Count the customers that a playbook would move, from the live state. Sends nothing, changes nothing."""
    from streams.deployment import load_playbook
    from streams.settings import load
    from streams.shell.worker import plan

    settings = load()
    for line in plan.run(settings, load_playbook(settings, playbook)):
        click.echo(line)


@main.command()
@click.option("--check", "only_check", is_flag=True, help="Create nothing; exit with 1 if something is wrong.")
def topics(only_check: bool) -> None:
    """Create the topics that are missing and check all of them."""
    from streams.settings import load
    from streams.shell.admin import topics

    report = topics.run(load(), create=not only_check)
    topic_width = max(len(status.topic) for status in report)
    state_width = max(len(status.state) for status in report)
    for status in report:
        click.echo(f"{status.topic:{topic_width}}  {status.state:{state_width}} {status.detail}".rstrip())
    sys.exit(1 if any(status.state == "problem" for status in report) else 0)


@main.command()
@click.argument("person", metavar="CUSTOMER")
@click.option("--anonymous", is_flag=True, help="CUSTOMER is an anonymous id.")
def erase(person: str, anonymous: bool) -> None:
    """Request the erasure of a customer. CUSTOMER is an id, or - to read it from standard input.

    Prints the id of the request once the broker has acknowledged it; the workers carry it out.
    """
    from streams.settings import load
    from streams.shell.admin import erasure_requests

    if person == "-":
        person = sys.stdin.readline().rstrip("\r\n")
    click.echo(erasure_requests.run(load(), person, identified=not anonymous))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="0 selects a free port.")
def broker(port: int) -> None:
    """Run the embedded broker in the foreground, for trials. It keeps all data in memory.

    Prints its address once it answers, and ends with SIGTERM or Ctrl-C.
    """
    from streams.devtools.broker import serve

    sys.exit(serve(port, announce=click.echo))


@main.command(cls=Spread)
@CLICKSTREAM
@ORDERS
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the output."
)
@UNTIL
@click.option("--now", type=TIME, help="Events too far after it are dead letters; by default the current time.")
@SORT
@REJECTED
@click.option("--currency", type=ValueType("code", values.CURRENCY.parse), help="Currency of events that name none.")
def replay(
    clickstream: tuple[Path, ...],
    orders: tuple[Path, ...],
    out: Path,
    until: int | None,
    now: int | None,
    sort: bool,
    max_rejected: float,
    currency: str | None,
) -> None:
    """Run the engine over files, without Kafka. The same input gives the same output, byte for byte."""
    if not clickstream and not orders:
        raise UserError("there is nothing to replay: name files with --clickstream or --orders.")
    import dataclasses

    from streams.replay.replay import run
    from streams.settings import load

    settings = load()
    if currency is not None:
        settings = dataclasses.replace(settings, currency=currency)
    sys.exit(
        run(
            settings,
            clickstream=clickstream,
            orders=orders,
            out=out,
            until=until,
            now=now,
            sort=sort,
            max_rejected=max_rejected,
        )
    )


@main.command(cls=Spread)
@click.option(
    "--playbook",
    "new",
    required=True,
    metavar="FILE|NAME",
    help="Playbook to try: a path, or the name of a shipped one.",
)
@click.option("--against", "old", metavar="FILE|NAME", help="Playbook to compare it with.")
@CLICKSTREAM
@ORDERS
@click.option("--topics", is_flag=True, help="Read the records of the input topics instead of files.")
@click.option("--out", type=FILE, default=Path("backtest.html"), show_default=True, help="The report, one HTML file.")
@UNTIL
@click.option("--now", type=TIME, help="Events of files too far after it are ignored; by default the current time.")
@SORT
@REJECTED
def backtest(
    new: str,
    old: str | None,
    clickstream: tuple[Path, ...],
    orders: tuple[Path, ...],
    topics: bool,
    out: Path,
    until: int | None,
    now: int | None,
    sort: bool,
    max_rejected: float,
) -> None:
    """Try a playbook on a history: report its outputs, or its differences from another playbook.

    The history is files as for `lifecycle replay`, or the input topics, read without a consumer group.
    """
    files = bool(clickstream or orders)
    if files is topics:
        raise UserError(
            "a history is read from files (--clickstream, --orders) or from topics (--topics): name one of these."
        )
    from streams.deployment import load_playbook
    from streams.replay import backtest
    from streams.settings import load

    settings = load()
    tried, against = (None if name is None else load_playbook(settings, name) for name in (new, old))
    assert tried is not None
    if topics:
        sys.exit(backtest.over_topics(settings, tried, against, out, until=until, max_rejected=max_rejected))
    sys.exit(
        backtest.over_files(
            settings,
            tried,
            against,
            out,
            clickstream=clickstream,
            orders=orders,
            until=until,
            now=now,
            sort=sort,
            max_rejected=max_rejected,
        )
    )


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|NAME...")
def validate(files: tuple[str, ...]) -> None:
    """Check playbooks. Each error has its line and column and the allowed values; then the exit code is 2."""
    from streams.playbooks import checker

    sys.exit(checker.run(files, click.echo))


@main.command()
@click.argument("file", metavar="FILE|NAME")
@click.option("--mermaid", "form", flag_value="mermaid", help="A Mermaid state diagram.")
@click.option("--svg", "form", flag_value="svg", help="A drawing of one track.")
@click.option("--track", help="Track to draw; by default the first.")
def explain(file: str, form: str | None, track: str | None) -> None:
    """Describe a playbook as the engine would run it, as text or as a diagram."""
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
    """Run scenarios: YAML files with events, waiting times and the expected outputs.

    For a DIR, runs its files *.scenarios.yaml. Without arguments, runs the scenarios of the shipped playbooks.
    """
    from streams.replay import scenario_command
    from streams.settings import load

    sys.exit(
        scenario_command.run_all(paths or (scenario_command.SHIPPED,), load(), scenario_command.playbook_of(load()))
    )


@main.command()
@click.option("--once", is_flag=True, help="End after the history, with a summary.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated shoppers.")
@click.option(
    "--broker",
    type=ValueType("address", lambda text: text if text == "kafka" else values.BROKERS.parse(text)),
    help="Use this Kafka instead of the embedded broker. The demo creates topics named demo-… on it, and deletes them "
    "at the end. `kafka` starts an Apache Kafka for the demo; it needs Java 17, and Maven the first time.",
)
def demo(once: bool, seed: int, broker: str | None) -> None:
    """Run the demo: a shop's history through Kafka at high speed, then simulated shoppers, live."""
    from streams.demo.main import run

    sys.exit(run(once=once, seed=seed, broker=broker))


@main.command()
@click.option("--markdown", is_flag=True, help="Print the reference, as in docs/settings.md.")
def settings(markdown: bool) -> None:
    """List all settings with their values and the origin of each value."""
    from streams.cli import listing
    from streams.settings import load_with_origins

    if markdown:
        click.echo(listing.reference(), nl=False)
    else:
        for line in listing.current(*load_with_origins()):
            click.echo(line)
