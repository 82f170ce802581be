"""Compile the code that every event goes through with mypyc: the same Python, about half the time.

Set STREAMS_INTERPRETED=1 to build without. Only the speed differs.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

PACKAGES = {
    "streams/core/engine": ("merge", "partition_engine", "reorder_buffer", "task_inputs"),
    "streams/core/event_time": ("inputs", "offset_gaps", "watermark"),
    "streams/core/identity": ("aliases", "erasure_sweep", "message_outbox", "resolver", "shared_ids"),
    "streams/core/lifecycle": (
        "abandonment", "aggregates", "cart", "cart_contents", "cart_merging", "deadlines", "lifecycle", "merging",
        "order_facts", "order_merging", "orders", "reach", "rule_index", "stages", "summary", "tracks",
        "trigger_runner", "triggers", "trimming",
    ),
    "streams/core/model": ("counters", "currencies", "durations", "event", "ids", "order_keys"),
    "streams/core/processing": ("output_filter", "processor"),
    "streams/core/profile": ("codec", "profile", "recent_ids", "sessions"),
    "streams/core/rules": (
        "aggregate_nodes", "arithmetic_nodes", "checker", "compiler", "condition_nodes", "dependencies", "errors",
        "eval_context", "functions", "lexer", "nodes", "parser", "profile_nodes", "property_nodes", "requirements",
        "tree", "types", "vocabulary",
    ),
    "streams/core/store": (
        "backend", "census", "disk_writer", "erasure_markers", "pending_changes", "profile_tiers", "recent_commits",
        "recovery", "task_state", "timers",
    ),
    "streams/contracts": (
        "fields", "identity", "money", "native", "outputs", "partitioning", "properties", "times",
    ),
}  # fmt: skip
"""Modules that define msgspec Structs are left out: mypyc would ignore the arguments of their metaclass."""

COMPILED = [f"{package}/{name}.py" for package, names in PACKAGES.items() for name in names]

if os.environ.get("STREAMS_INTERPRETED"):
    setup()
else:
    from mypyc.build import mypycify

    os.chdir(Path(__file__).parent)
    modules = mypycify(COMPILED, opt_level="3", debug_level="0", group_name="streams")
    if sys.platform != "win32":
        for module in modules:
            # No other library replaces our functions. So calls within the module are direct, and can be inlined.
            module.extra_compile_args.append("-fno-semantic-interposition")
    setup(ext_modules=modules)
