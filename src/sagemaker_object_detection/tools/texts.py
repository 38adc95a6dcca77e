"""The texts that expressions of a source can make.

A text is followed through constants, variables and functions that return one. A value that is known
only when the program runs is shown as <value>, by the last name in its expression.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from sagemaker_object_detection.tools.syntax import Module, Package, Scope, arguments, last_name

_DEPTH = 6
_SHOWN_CODE = 40
_SENTENCE = 3
_PARAMETER = re.compile("\0(\\w+)\0")
_CHOICE = re.compile("\1([^\1\3]*)\3")
_BUILT_IN = {"len": "number of ", "type": "type of "}
_TYPES = frozenset({"dict", "str"})
_OPERATIONS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.RShift: operator.rshift,
}


class Texts:
    """Reads expressions of a package."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def of(self, node: ast.expr, scope: Scope, depth: int = _DEPTH) -> str | None:
        """The text of an expression; None when nothing is known of it, or it is no text.

        Parameters of the scope's function and choices between texts are marked: see `bind`,
        `parameters`, `spelt`.
        """
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            return "".join(self._part(part, scope, depth) for part in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = (node.left, node.right)
            texts = [self.of(side, scope, depth) for side in sides]
            if texts == [None, None]:
                return None
            both = zip(sides, texts, strict=True)
            return "".join(self._value(s, scope) if t is None else t for s, t in both)
        if isinstance(node, ast.IfExp):
            return _choice([self.of(branch, scope, depth) for branch in (node.body, node.orelse)])
        if depth and isinstance(node, ast.Name | ast.Attribute):
            return self._named(node, scope, depth - 1)
        if depth and isinstance(node, ast.Call):
            return self._called(node, scope, depth - 1)
        return None

    def bind(
        self, text: str, given: Mapping[str, ast.expr], scope: Scope, depth: int = _DEPTH
    ) -> str:
        """Put the arguments of a call in `scope` in the place of parameters."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            found = self.of(given[name], scope, depth) if name in given else None
            return f"<{name}>" if found is None else found

        return _PARAMETER.sub(value, text)

    def _part(self, part: ast.expr, scope: Scope, depth: int) -> str:
        if not isinstance(part, ast.FormattedValue):
            return self.of(part, scope, depth) or ""
        number = self._number(part.value, scope.module)
        if number is not None:
            form = self.of(part.format_spec, scope) if part.format_spec else ""
            return format(number, form or "")
        text = self.of(part.value, scope, depth) if part.conversion == -1 else None
        return self._value(part.value, scope) if text is None else text

    def _named(self, node: ast.Name | ast.Attribute, scope: Scope, depth: int) -> str | None:
        if isinstance(node, ast.Name):
            values = scope.values(node)
            if values:
                return _choice([self.of(value, scope, depth) for value in values])
            if node.id in scope.parameters:
                return f"\0{node.id}\0"
        found = self._package.constant(scope.module, node)
        return None if found is None else self.of(found[1], Scope(found[0]), depth)

    def _called(self, call: ast.Call, scope: Scope, depth: int) -> str | None:
        """The text that a function of the package returns for these arguments."""
        if not isinstance(call.func, ast.Name):
            return None
        called = self._package.function(scope.module, call.func.id)
        if called is None:
            return None
        text = _choice([self.of(value, called, depth) for value in called.returned])
        return None if text is None else self.bind(text, arguments(call, called), scope, depth)

    def _number(self, node: ast.expr, module: Module) -> int | None:
        """A whole number that the source tells."""
        if isinstance(node, ast.Constant):
            return node.value if type(node.value) is int else None
        if isinstance(node, ast.BinOp):
            left, right = self._number(node.left, module), self._number(node.right, module)
            operation = _OPERATIONS.get(type(node.op))
            if left is None or right is None or operation is None:
                return None
            return operation(left, right)
        found = self._package.constant(module, node)
        return None if found is None else self._number(found[1], found[0])

    def _value(self, node: ast.expr, scope: Scope) -> str:
        """<what> stands for a value."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if self._number(node.right, scope.module) is not None:
                return self._value(node.left, scope)
            right = self.of(node.right, scope)
            return f"{self._value(node.left, scope)}/{right or self._value(node.right, scope)}"
        if isinstance(node, ast.Call):
            return self._value_of_call(node, scope)
        if isinstance(node, ast.BoolOp):
            return self._value(node.values[0], scope)
        if isinstance(node, ast.Subscript | ast.Starred):
            return self._value(node.value, scope)
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            return self._value(node.generators[0].iter, scope)
        if isinstance(node, ast.Attribute) and node.attr.startswith("__"):
            return self._value(node.value, scope)
        name = last_name(node).strip("_").lower()
        code = ast.unparse(node)
        return f"<{name or (code if len(code) <= _SHOWN_CODE else 'value')}>"

    def _value_of_call(self, call: ast.Call, scope: Scope) -> str:
        """What a function is applied to, mostly; else its name."""
        name = last_name(call.func)
        first = next(iter(call.args[name == "map" :]), None)
        if isinstance(call.func, ast.Attribute):
            if name == "get" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                return f"<{first.value}>"
            owner = call.func.value
            made = isinstance(owner, ast.Constant) or last_name(owner) in _TYPES
            about = first if made else owner
            if about is not None and last_name(about) not in ("self", "cls", *scope.module.imports):
                return self._value(about, scope)
            if last_name(owner) in scope.module.imports and first is not None:
                return self._value(first, scope)
        elif first is not None and last_name(first) != "self":
            return f"<{_BUILT_IN.get(name, '')}{self._value(first, scope).strip('<>')}>"
        return f"<{_BUILT_IN.get(name, name).strip(' _') or 'value'}>"


def parameters(text: str) -> list[str]:
    """The parameters that a text depends on."""
    return list(dict.fromkeys(_PARAMETER.findall(text)))


def spelt(text: str) -> list[str]:
    """Every form of a text, for a reader.

    Where it has a choice between sentences there is one for each; choices between a word or two
    are shown as (one | other), and what may be missing as [text].
    """
    found = _CHOICE.search(text)
    if found is None:
        return [" ".join(_PARAMETER.sub(r"<\1>", text).split())]
    options = found[1].split("\2")
    filled = [option for option in options if option]
    if len(filled) == len(options) and max(len(o.split()) for o in options) < _SENTENCE:
        options = [f"({' | '.join(options)})"]
    elif len(filled) == 1:
        options = [f"[{filled[0]}]"]
    rest = (text[: found.start()] + option + text[found.end() :] for option in options)
    return list(dict.fromkeys(form for one in rest for form in spelt(one)))


def _choice(texts: Sequence[str | None]) -> str | None:
    known = list(dict.fromkeys(text for text in texts if text is not None))
    if len(known) < 2:
        return known[0] if known else None
    return "\1" + "\2".join(known) + "\3"
