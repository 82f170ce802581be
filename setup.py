"""Compiles the code that every event goes through with mypyc: the same Python, about half the time.

Set STREAMS_INTERPRETED=1 to build without: nothing but speed differs.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

COMPILED = [
    *(
        f"streams/core/{name}.py"
        for name in (
            "abandonment", "activity", "applying", "bounds", "cart", "cold", "customer", "dispatch",
            "emission", "engine", "erasing", "facts", "holding", "holes", "identity", "ids", "inputs",
            "levels", "linking",
            "merging", "orders", "packing", "profile", "recent_ids", "sessions", "stages", "state",
            "sweeping", "timers", "tracks", "triggering", "triggers", "watermark",
        )
    ),
    *(
        f"streams/core/rules/{name}.py"
        for name in (
            "checker", "compiler", "errors", "functions", "kept", "lexer", "moment", "needs", "nodes", "parser",
            "properties", "reading",
            "touching", "tree", "types", "vocabulary",
        )
    ),
    *(
        f"streams/contracts/{name}.py"
        for name in ("identity", "money", "native", "outputs", "partitioning", "properties", "times")
    ),
]  # fmt: skip
"""Not among them: modules of msgspec Structs, whose metaclass mypyc would pass by."""

if os.environ.get("STREAMS_INTERPRETED"):
    setup()
else:
    from mypyc.build import mypycify

    os.chdir(Path(__file__).parent)
    modules = mypycify(COMPILED, opt_level="3", debug_level="0", group_name="streams")
    if sys.platform != "win32":
        for module in modules:
            # Nobody replaces a function of ours by one of another library: so calls within are direct, and inlined.
            module.extra_compile_args.append("-fno-semantic-interposition")
    setup(ext_modules=modules)
