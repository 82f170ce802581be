"""The catalogue of peers: names are distinct, and descriptions are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.catalogue import PEERS, JvmPeer, Peer, slug
from benchmarks.figures import GOALS, OURS
from benchmarks.peers.arguments import Arguments

GIVEN = Arguments("127.0.0.1:9092", "in", "out", "group", 20_000, "1s", Path("/state"))


def test_names_of_peers_stay_distinct_as_topics_and_directories() -> None:
    assert len({slug(peer.name) for peer in PEERS}) == len(PEERS)
    assert all(slug(peer.name).replace("-", "").isalnum() for peer in PEERS)


def test_goals_name_existing_peers() -> None:
    names = {peer.name: peer for peer in PEERS}
    assert OURS.peer in names
    for goal in GOALS:
        assert (goal.other.jit is not None) is isinstance(names[goal.other.peer], JvmPeer)


@pytest.mark.parametrize("peer", [peer for peer in PEERS if isinstance(peer, Peer)], ids=lambda peer: peer.name)
def test_python_peer_is_a_module_with_all_arguments_on_its_command_line(peer: Peer) -> None:
    _, flag, module, *options = peer.command(GIVEN)
    assert flag == "-m"
    assert importlib.util.find_spec(module) is not None
    assert options == [
        "--bootstrap=127.0.0.1:9092",
        "--input=in",
        "--output=out",
        "--group=group",
        "--events=20000",
        "--mode=1s",
        "--state-dir=/state",
    ]


@pytest.mark.parametrize("peer", [peer for peer in PEERS if isinstance(peer, JvmPeer)], ids=lambda peer: peer.name)
def test_the_versions_of_a_peer_on_the_jvm_are_in_its_pom(peer: JvmPeer) -> None:
    assert "None" not in peer.versions
