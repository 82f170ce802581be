"""Render docs/metrics.md from the catalogue: `python -m streams.observe.docs > docs/metrics.md` (`make docs`)."""

from __future__ import annotations

import sys

from streams.observe.catalogue import CATALOGUE, OTHER, Label, Metric

INTRODUCTION = f"""\
# Metrics

A worker answers on `LIFECYCLE_WEB_HOST`:`LIFECYCLE_WEB_PORT`:

- `/metrics`: the metrics below, in the Prometheus text format, or as OpenMetrics if the request accepts it.
- `/healthz`, for a liveness probe: 503 if the event loop or the consumer has had no heartbeat for 60 s. The answer
  names which. An absent broker is no reason.
- `/readyz`, for a readiness probe: 200 once the tables are recovered, also without an assigned partition, and through a
  rebalance. 503 before that, or for a reason that the answer names, such as `clock_skew`.

Times are in seconds, sizes in bytes. Counters start at 0 with the process and continue through a rebalance. A gauge of
a partition exists while the partition is assigned to this worker, so that a sum over all workers counts nothing twice.
No label holds customer data. A label with a closed set of values shows `{OTHER}` for any other value; that is a defect,
and it is logged. There are also the metrics `process_*` and `python_*` of the Prometheus client.

`make docs` generates this page from `streams/observe/catalogue.py`.
"""

KINDS = (("counter", "Counters"), ("gauge", "Gauges"), ("histogram", "Histograms"))


def render() -> str:
    """Return the page. A test compares the committed page with it."""
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
