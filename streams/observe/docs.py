"""docs/metrics.md, from the catalogue: `python -m streams.observe.docs > docs/metrics.md` (`make docs`)."""

from __future__ import annotations

import sys

from streams.observe.catalogue import CATALOGUE, OTHER, Label, Metric

INTRODUCTION = f"""\
# Metrics

A worker answers on `LIFECYCLE_WEB_HOST`:`LIFECYCLE_WEB_PORT`:

- `/metrics`: what is listed below, in the Prometheus text format, or as OpenMetrics to those who ask for it.
- `/healthz`, for a liveness probe: 503 when the event loop or the consumer has made no step for 60 s, which it then
  names; never because the broker is away.
- `/readyz`, for a readiness probe: 200 once the tables are recovered, also with no partition assigned; it does not flap
  in a rebalance. 503 before that, or while a reason stands that it names (such as `clock_skew`).

Times are in seconds, sizes in bytes. Counters start at 0 with the process and go on through a rebalance; a gauge of a
partition is there while the partition is this worker's, so that a sum over all workers counts nothing twice. No label
holds anything of a customer. A label with a closed set of values shows `{OTHER}` for what is not in it, which is a
defect and logged as one. Beside these there are `process_*` and `python_*` of the Prometheus client.

This page is made by `make docs` from `streams/observe/catalogue.py`.
"""

KINDS = (("counter", "Counters"), ("gauge", "Gauges"), ("histogram", "Histograms"))


def render() -> str:
    """The page. A test holds the committed one against it."""
    parts = [INTRODUCTION]
    for kind, title in KINDS:
        parts.append(f"## {title}\n")
        parts += [_entry(metric) for metric in CATALOGUE if metric.kind == kind]
    return "\n".join(parts)


def _entry(metric: Metric) -> str:
    lines = [f"### `{metric.name}`", "", metric.help]
    if metric.labels or metric.buckets:
        lines.append("")
    lines += [_label(label) for label in metric.labels]
    if metric.buckets:
        lines.append(f"- buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}")
    return "\n".join([*lines, "", f"**When to worry:** {metric.worry}", ""])


def _label(label: Label) -> str:
    values = "" if label.values is None else f": {', '.join(f'`{value}`' for value in label.values)}"
    return f"- label `{label.name}`, {label.meaning}{values}"


if __name__ == "__main__":
    sys.stdout.write(render())
