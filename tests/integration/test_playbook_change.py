"""A worker with a playbook that nobody meant changes nothing; a higher version says beforehand who moves where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.shop_events import MINUTE, click, now

CLUB = """
playbook: club
version: {version}
event_types: [subscription_started]
tracks:
  lifecycle:
    initial: guest
    transitions:
      - {{from: guest, to: {member}, when: "event.type == 'subscription_started'"}}
"""
MEMBERS = 20


def club(directory: Path, version: int, member: str, more: str = "") -> str:
    path = directory / f"club-{version}-{member}.yaml"
    path.write_text(CLUB.format(version=version, member=member) + more)
    return str(path)


async def members(cluster: ProcessCluster, playbook: str) -> None:
    """Have customers subscribe under a playbook, and stop its worker."""
    at = now() - 10 * MINUTE
    await cluster.clicks(*(click(f"c-{n}", at, "subscription_started") for n in range(MEMBERS)))
    await cluster.clicks(click("c-guest", at, "page_viewed"))
    worker = cluster.start_worker(playbook=playbook)
    await worker.ready()

    async def all_there() -> bool:
        return len(await cluster.stage_changes()) == 2 * MEMBERS + 1

    await wait_until(all_there, "all members")
    [name] = {line for line in worker.get("/metrics")[1].splitlines() if line.startswith("lifecycle_playbook_info")}
    assert 'name="club"' in name
    worker.terminate()
    assert worker.exit_code() == 0


async def test_worker_without_its_playbook_setting_refuses_to_start_and_moves_nobody(
    make_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    cluster: ProcessCluster = await make_cluster()
    version_1 = club(tmp_path, 1, "member")
    await members(cluster, version_1)
    assert dict((await cluster.read(cluster.settings.stage_changes_topic))[0].headers)["ce_playbook"].startswith(
        b"club/1/"
    )
    forgotten = cluster.command("worker")
    assert forgotten.returncode == 2
    [sentence] = [line for line in forgotten.stderr.splitlines() if line.startswith("lifecycle: ")]
    assert "made under the playbook club, version 1 (" in sentence
    assert "but this worker has ecommerce, version 1 (" in sentence
    assert "start once with --accept-playbook" in sentence
    edited = cluster.command("worker", playbook=club(tmp_path, 1, "subscriber"))
    assert (edited.returncode, "raise its version" in edited.stderr) == (2, True)

    planned = cluster.command("plan").stdout.splitlines()
    assert planned[1] == f"Of {MEMBERS + 1} customers, 0 stay in their stages, and {MEMBERS + 1} move."
    assert [line.split() for line in planned[2:4]] == [
        ["lifecycle", "member", "->", "visitor", str(MEMBERS)],
        ["lifecycle", "guest", "->", "visitor", "1"],
    ]
    assert planned[4:] == [
        "A worker with this playbook would start only with --accept-playbook.",
        "Nothing was sent, and nothing was changed.",
    ]
    before = {change["id"] for change in await cluster.stage_changes()}
    again = cluster.start_worker(playbook=version_1)
    await again.ready()
    await cluster.clicks(*(click(f"c-{n}", now(), "page_viewed") for n in range(MEMBERS)))
    await wait_until(lambda: again.metric("lifecycle_events_total", outcome="applied") == MEMBERS, "the new events")
    assert {change["id"] for change in await cluster.stage_changes()} == before, "all are members still"


async def test_higher_version_says_who_moves_and_moves_them(make_cluster: Callable[..., Any], tmp_path: Path) -> None:
    cluster: ProcessCluster = await make_cluster()
    await members(cluster, club(tmp_path, 1, "member"))
    version_2 = club(tmp_path, 2, "subscriber")
    move = f"  lifecycle  member -> guest  {MEMBERS}"
    assert move in cluster.command("plan", "--playbook", version_2).stdout.splitlines()
    renaming = club(tmp_path, 3, "subscriber", "renamed: {3: {lifecycle: {member: subscriber}}}")
    assert f"  lifecycle  member -> subscriber  {MEMBERS}" in cluster.command("plan", playbook=renaming).stdout
    worker = cluster.start_worker(playbook=renaming)
    await worker.ready()
    assert f"member -> subscriber  {MEMBERS}" in worker.log.read_text()
    await cluster.clicks(click("c-1", now(), "page_viewed"))

    async def moved() -> list[dict[str, Any]]:
        return [change for change in await cluster.stage_changes() if change["cause"]["kind"] == "playbook"]

    [change] = await wait_until(moved, "the move")
    assert (change["customer_id"], change["from_stage"], change["to_stage"]) == ("c-1", "member", "subscriber")
    worker.terminate()
    assert worker.exit_code() == 0
    assert cluster.command("worker", playbook=version_2).returncode == 2, "a lower version"


async def test_other_playbook_starts_if_it_is_accepted(make_cluster: Callable[..., Any], tmp_path: Path) -> None:
    cluster: ProcessCluster = await make_cluster()
    await members(cluster, club(tmp_path, 1, "member"))
    program = (
        "import sys; from streams.cli import main; sys.argv = ['lifecycle', 'worker', '--accept-playbook']; main()"
    )
    worker = cluster.start_worker(program=program)
    await worker.ready()
    assert f"member -> visitor  {MEMBERS}" in worker.log.read_text()
    await cluster.clicks(click("c-1", now(), "page_viewed"))
    await wait_until(lambda: worker.metric("lifecycle_stage_changes_total", cause="playbook") == 1, "the move")
