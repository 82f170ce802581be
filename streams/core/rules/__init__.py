"""The expression language of playbooks: a text is parsed to a tree, checked, and compiled to nodes.

`docs/rules.md` is its reference. No text of a user reaches the Python interpreter: a rule is a tree of the node classes
of this package, and only names of the vocabulary are looked up.
"""

from streams.core.rules.compiler import CompiledRule, compile_rule
from streams.core.rules.errors import RuleError
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.types import Type
from streams.core.rules.vocabulary import Vocabulary

__all__ = ["CompiledRule", "EvalContext", "RuleError", "Type", "Vocabulary", "compile_rule"]
