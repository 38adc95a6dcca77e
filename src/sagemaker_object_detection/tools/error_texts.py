"""Every text that an error for the user can have, found in the package's source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from sagemaker_object_detection.data.reasons import REASONS
from sagemaker_object_detection.tools.syntax import Package, Scope, arguments, last_name
from sagemaker_object_detection.tools.texts import Texts, parameters, spelt

GATHERED = "ClientError"
"""What lists of faults end in."""
DROPPED = "Dropped"
USAGES = ("BadParameter", "UsageError")

_LISTS = frozenset({"faults", "offenders", "lonely", "missing", "wrong"})
_PLACES = frozenset({"name", "path", "place", "where", "channel", "file", "folder", "key"})
_LISTING = " (<number> in all): <up to ten of them, one a line>"
_CALLERS = 3


@dataclass(frozen=True)
class ErrorText:
    """One text of a module; `kind` is the class of the error, DROPPED or one of USAGES."""

    module: str
    kind: str
    text: str


def error_classes(package: Package) -> dict[str, str]:
    """Every exception class of the package and the class it is derived from."""
    bases = {
        node.name: last_name(node.bases[0])
        for module in package.modules.values()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and node.bases
    }

    def is_error(name: str) -> bool:
        return name.endswith(("Error", "Exception")) or (name in bases and is_error(bases[name]))

    return {name: base for name, base in bases.items() if is_error(base)}


def error_texts(package: Package) -> list[ErrorText]:
    """All texts, module by module in the order of the source, each once."""
    search = _Search(package)
    found = (row for scope in package.scopes for row in search.inside(scope))
    return list(dict.fromkeys(found))


class _Search:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._texts = Texts(package)
        self._classes = {*error_classes(package), *USAGES}

    def inside(self, scope: Scope) -> Iterator[ErrorText]:
        """The texts that are made in one scope."""
        for node in scope.nodes:
            for kind, text in self._made(node, scope):
                for module, whole in self._told(text, scope, _CALLERS):
                    forms = [form for form in spelt(whole) if " " in form]
                    yield from (ErrorText(module, kind, form) for form in forms)

    def _made(self, node: ast.AST, scope: Scope) -> Iterator[tuple[str, str]]:
        """Kinds of errors and what becomes their text at a node, parameters marked."""
        if isinstance(node, ast.Call) and last_name(node.func) in self._classes:
            kind = last_name(node.func)
            own = self._constructed(node, scope)
            texts = [self._texts.of(one, scope) for a in node.args for one in _elements(a)]
            yield from ((kind, text) for text in ([own] if own else texts) if text)
            return
        for kind, one in _gathered(node, scope):
            text = self._texts.of(one, scope)
            if text:
                yield kind, text + (_LISTING if _heads(node, scope) else "")

    def _constructed(self, call: ast.Call, scope: Scope) -> str | None:
        """The text of a class whose __init__ puts it together from its arguments."""
        made = self._package.function(scope.module, "__init__", last_name(call.func))
        for node in made.nodes if made else ():
            if isinstance(node, ast.Call) and last_name(node.func) == "__init__" and node.args:
                text = self._texts.of(node.args[0], made) if made else None
                return (
                    self._texts.bind(text, arguments(call, made), scope) if made and text else None
                )
        return None

    def _told(self, text: str, scope: Scope, callers: int) -> Iterator[tuple[str, str]]:
        """The text for each call that gives a sentence for a parameter; else the text itself.

        With the module that speaks: the one of the call.
        """
        wanted = [name for name in parameters(text) if name not in _PLACES]
        told: list[tuple[str, Scope]] = []
        sentences = False
        for caller, call in self._package.calls(scope) if wanted and callers else ():
            values = {n: v for n, v in arguments(call, scope).items() if n in wanted}
            known = [k for v in values.values() if (k := self._texts.of(v, caller)) is not None]
            if known:
                told.append((self._texts.bind(text, values, caller), caller))
                sentences |= any(" " in k or parameters(k) for k in known)
        if not sentences:
            yield scope.module.name, text
            return
        for bound, caller in told:
            yield from self._told(bound, caller, callers - 1)


def _gathered(node: ast.AST, scope: Scope) -> Iterator[tuple[str, ast.expr]]:
    """Texts that are put into lists of faults, or into rows of the report."""
    if isinstance(node, ast.Call):
        name = last_name(node.func)
        owner = last_name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        listed = owner.strip("_") in _LISTS
        if name == DROPPED and len(node.args) == 3:
            yield GATHERED if _refuses(node.args[1]) else DROPPED, node.args[2]
        elif _heads(node, scope) or (listed and name in ("append", "add")):
            yield from ((GATHERED, one) for one in node.args[:1])
        elif listed and name == "extend":
            yield from ((GATHERED, one) for one in _elements(node.args[0]))
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if last_name(target).strip("_") in _LISTS:
            yield from ((GATHERED, one) for one in _listed(node.value))
    elif isinstance(node, ast.Return) and node.value is not None and _returns_faults(scope):
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        yield from ((GATHERED, one) for part in parts for one in _listed(part))


def _heads(node: ast.AST, scope: Scope) -> bool:
    """Whether the text is a heading that offenders are listed below."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr == "refuse" and last_name(node.func.value).strip("_") in _LISTS
    return scope.module.imports.get(last_name(node.func)) == ("data.refusal", "refusal")


def _refuses(reason: ast.expr) -> bool:
    name = reason.value if isinstance(reason, ast.Constant) else ""
    return name in REASONS and REASONS[str(name)].policy == "refused"


def _elements(node: ast.expr) -> list[ast.expr]:
    """The texts of an argument: its own, or those of the list that a star unpacks."""
    inner = node.value if isinstance(node, ast.Starred) else node
    return _listed(inner) or [inner]


def _listed(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple):
        return [element for element in node.elts if not isinstance(element, ast.Starred)]
    return [node.elt] if isinstance(node, ast.ListComp | ast.GeneratorExp) else []


def _returns_faults(scope: Scope) -> bool:
    """Whether the function gives its faults back as a list."""
    if scope.function is None or scope.function.returns is None:
        return False
    names = {last_name(node).strip("_") for node in ast.walk(scope.function)}
    return "list[str]" in ast.unparse(scope.function.returns) and bool(names & _LISTS)
