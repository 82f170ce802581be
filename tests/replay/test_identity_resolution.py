"""Merged identities stay merged in replays, backtests and scenarios, without Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams import deployment, playbooks
from streams.cli import main
from streams.replay import backtest, file_layout, log_run, scenario_file
from streams.replay import replay as runner
from streams.replay.scenario_run import run
from streams.settings import Settings
from tests.support.shop_events import DAY, half_known, in_order, shop

NOON = 1_763_719_200_000
RESOLVING = Settings(identity_resolution=True)


def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write a shop with partly identified customers."""
    events = half_known(5, in_order(*shop(seed=5, customers=30, events=1_500, end=NOON)))
    paths = tmp_path / "clicks.jsonl", tmp_path / "orders.jsonl"
    for path, is_order in zip(paths, (False, True), strict=True):
        path.write_text("".join(json.dumps(event) + "\n" for event in events if ("order_id" in event) is is_order))
    return paths


def replay(tmp_path: Path, name: str = "out", settings: Settings = RESOLVING) -> dict[str, list[str]]:
    clicks, orders = files(tmp_path)
    out = tmp_path / name
    runner.run(settings, clickstream=[clicks], orders=[orders], out=out, until=NOON + DAY, now=NOON)
    return {path.name: sorted(path.read_text().splitlines()) for path in out.iterdir()}


def test_replay_links_devices_to_customers_and_loses_no_event(tmp_path: Path) -> None:
    found, unresolved = replay(tmp_path), replay(tmp_path, "unresolved", Settings())
    assert len(found["identities.jsonl"]) > 20
    assert unresolved["identities.jsonl"] == []
    profiles = [json.loads(line) for line in found["profiles.jsonl"]]
    before = [json.loads(line) for line in unresolved["profiles.jsonl"]]
    assert len(profiles) < len(before) - 20
    for name in ("orders", "product_views", "checkouts"):
        assert sum(profile[name] for profile in profiles) == sum(profile[name] for profile in before)
    ended = [json.loads(line) for line in found["stage-changes.jsonl"] if '"to_stage":null' in line]
    assert {change["cause"]["kind"] for change in ended} == {"merge"}


@pytest.mark.parametrize(("chunk", "commits"), [(1, 1), (300, 3), (1 << 20, 1000)])
def test_chunks_and_commits_do_not_change_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, commits: int
) -> None:
    expected = replay(tmp_path)
    monkeypatch.setattr(file_layout, "CHUNK", chunk)
    monkeypatch.setattr(log_run, "RESOLVING_COMMIT_EVERY", commits)
    assert replay(tmp_path, "other") == expected


def test_backtest_counts_the_outputs_of_a_replay_with_identity_resolution(tmp_path: Path) -> None:
    clicks, orders = files(tmp_path)
    page, until = tmp_path / "backtest.html", NOON + DAY
    playbook = deployment.load_playbook(RESOLVING)
    backtest.over_files(RESOLVING, playbook, None, page, clickstream=[clicks], orders=[orders], until=until, now=NOON)
    linked = len(replay(tmp_path)["identities.jsonl"])
    assert f"{linked}" in page.read_text()


STORY = """\
playbook: ecommerce
only: [abandonments, identities]
scenarios:
  - name: a cart that was filled on a phone is bought at a desk
    steps:
      - {type: product_added, anonymous_id: phone, product_id: lamp, price: 79, cart_id: cart-7}
      - wait: 1h
      - expect:
          - {abandoned: cart, customer_id: phone, identified: false, at: 1h}
      - {type: order_completed, customer_id: ada, order_id: o-1, total: 79, cart_id: cart-7, after: 10m}
      - expect:
          - {type: linked, customer_id: ada, anonymous_id: phone, at: 1h10m}
          - {recovered: cart, match: cart, customer_id: ada, at: 1h10m}
      - {type: product_viewed, anonymous_id: phone, product_id: mug, after: 1h}
      - wait: 30m
      - expect:
          - {abandoned: browse, customer_id: ada, identified: true}
  - name: a customer who signs in on another customer's device takes nothing from its owner
    only: [identities, stages]
    steps:
      - {type: page_viewed, anonymous_id: tablet, customer_id: ada}
      - {type: page_viewed, anonymous_id: tablet, customer_id: bob, after: 1h}
      - expect:
          - {type: linked, customer_id: ada, anonymous_id: tablet}
          - {stage: visitor, customer_id: ada}
          - {type: switched, customer_id: bob, anonymous_id: tablet, previous_customer_id: ada}
          - {stage: visitor, customer_id: bob}
  - name: a customer who buys the cart of another customer's device is refused the device
    only: [refused]
    steps:
      - {type: page_viewed, anonymous_id: tablet, customer_id: ada}
      - {type: product_added, anonymous_id: tablet, product_id: lamp, price: 79, cart_id: cart-7, after: 1m}
      - {type: order_completed, customer_id: bob, total: 79, cart_id: cart-7, after: 10m}
      - expect:
          - {rejected: invalid_field}
      - {type: order_completed, customer_id: bob, order_id: o-1, total: 79, cart_id: cart-7}
      - expect:
          - {type: refused, customer_id: bob, anonymous_id: tablet, owner_customer_id: ada, at: 11m}
"""


def test_scenario_can_fill_a_cart_on_a_device_and_buy_it_as_a_customer(tmp_path: Path) -> None:
    path = tmp_path / "devices.scenarios.yaml"
    path.write_text(STORY)
    failures = [run(scenario, playbooks.load(), RESOLVING) for scenario in scenario_file.load(path).scenarios]
    assert failures == [None] * 3
    result = CliRunner().invoke(main, ["test", str(path)], env={"LIFECYCLE_IDENTITY_RESOLUTION": "on"})
    assert result.exit_code == 0, result.output  # the command also knows the words of `only`
    path.write_text(STORY.replace("owner_customer_id: ada", "owner_customer_id: eve"))
    result = CliRunner().invoke(main, ["test", str(path)], env={"LIFECYCLE_IDENTITY_RESOLUTION": "on"})
    assert "~ came different       type: refused, customer_id: bob, at: 11m" in result.output


LATER = """\
playbook: ecommerce
scenarios:
  - name: a customer browses on a phone on which she signed in before
    only: [abandonments]
    steps:
      - {type: page_viewed, anonymous_id: phone, customer_id: ada}
      - {type: product_viewed, anonymous_id: phone, product_id: mug, after: 3h}
      - wait: 30m
      - expect: [{abandoned: browse, customer_id: OWNER}]
"""


@pytest.mark.parametrize(("expiry", "owner"), [("400d", "ada"), ("2h", "phone")])
def test_device_expiry_setting_applies_to_replays(tmp_path: Path, expiry: str, owner: str) -> None:
    path = tmp_path / "later.scenarios.yaml"
    path.write_text(LATER.replace("OWNER", owner))
    env = {"LIFECYCLE_IDENTITY_RESOLUTION": "on", "LIFECYCLE_DEVICE_EXPIRY": expiry}
    result = CliRunner().invoke(main, ["test", str(path)], env=env)
    assert result.exit_code == 0, result.output


def test_the_shipped_scenarios_pass_with_identity_resolution_too() -> None:
    result = CliRunner().invoke(main, ["test"], env={"LIFECYCLE_IDENTITY_RESOLUTION": "on"})
    assert result.exit_code == 0, result.output
