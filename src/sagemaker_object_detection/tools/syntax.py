"""The source of a package as syntax trees: what a name stands for at a place, and who calls whom.

Nothing is imported or run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file. `imports`: name -> module of the package and name in it."""

    name: str
    tree: ast.Module
    constants: Mapping[str, ast.expr]
    imports: Mapping[str, tuple[str, str]]

    @property
    def title(self) -> str:
        """The first paragraph of the docstring without its full stop."""
        text = (ast.get_docstring(self.tree) or self.name).split("\n\n")[0]
        return " ".join(text.split()).rstrip(".")


@dataclass(frozen=True, eq=False)
class Scope:
    """A function, or what a module does outside of any; `owner` is the class it is a method of."""

    module: Module
    function: Function | None = None
    owner: str = ""
    outer: Scope | None = None

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All inside but what belongs to functions in it, in the order of the source."""
        return list(_own(self.function or self.module.tree))

    @property
    def parameters(self) -> list[str]:
        """Names of the function's parameters in order, without self and cls."""
        if self.function is None:
            return []
        given = self.function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        return [name for name in names if name not in ("self", "cls")]

    @property
    def returned(self) -> list[ast.expr]:
        """The expressions that the function returns."""
        return [n.value for n in self.nodes if isinstance(n, ast.Return) and n.value is not None]

    def values(self, name: ast.Name) -> list[ast.expr]:
        """Every expression that was assigned to a variable above the place where it is used."""
        found = [value for target, value in self._assigned if target == name.id]
        if not found:
            around = self.outer
            return [] if around is None or around.function is None else around.values(name)
        return [value for value in found if value.lineno < name.lineno] or found

    @cached_property
    def _assigned(self) -> list[tuple[str, ast.expr]]:
        assigned: list[tuple[str, ast.expr]] = []
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    assigned += _pairs(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                assigned += _pairs(node.target, node.value)
        return assigned


class Package:
    """All modules below a folder by their names inside it, as in `data.gate`."""

    def __init__(self, folder: Path) -> None:
        self.modules: dict[str, Module] = {}
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self.modules[name] = _module(name, tree, folder.name)
        self.scopes = [s for m in self.modules.values() for s in _scopes(m.tree, Scope(m))]

    def function(self, module: Module, name: str, owner: str = "") -> Scope | None:
        """A function or, with `owner`, a method, of this module or of one that it imports from."""
        origin, original = module.imports.get(owner or name, (module.name, owner or name))
        wanted = (origin, original, name) if owner else (origin, "", original)
        for scope in self.scopes:
            if scope.function and wanted == (scope.module.name, scope.owner, scope.function.name):
                return scope
        return None

    def calls(self, called: Scope) -> Iterator[tuple[Scope, ast.Call]]:
        """Where a function is called by its name, or as a method, and in which scope."""
        assert called.function is not None
        name = called.function.name
        for scope in self.scopes:
            elsewhere = scope.module is not called.module
            if elsewhere and scope.module.imports.get(name) != (called.module.name, name):
                continue
            for node in scope.nodes:
                if isinstance(node, ast.Call) and last_name(node.func) == name:
                    yield scope, node

    def constant(self, module: Module, node: ast.expr) -> tuple[Module, ast.expr] | None:
        """What a name of a module stands for, also one that is imported, and where it is set."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin = ".".join(module.imports.get(node.value.id, ())).strip(".")
            name = node.attr
        elif isinstance(node, ast.Name):
            origin, name = module.imports.get(node.id, (module.name, node.id))
        else:
            return None
        there = self.modules.get(origin)
        if there is None or name not in there.constants:
            return None
        return there, there.constants[name]


def last_name(node: ast.AST) -> str:
    """`c` of a.b.c; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def arguments(call: ast.Call, called: Scope) -> dict[str, ast.expr]:
    """Parameter -> what the call gives for it."""
    given = dict(zip(called.parameters, call.args, strict=False))
    return given | {word.arg: word.value for word in call.keywords if word.arg is not None}


def _module(name: str, tree: ast.Module, package: str) -> Module:
    constants: dict[str, ast.expr] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            constants[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            origin = (node.module or "")[len(package) + 1 :]
            imports |= {a.asname or a.name: (origin, a.name) for a in node.names}
    return Module(name, tree, constants, imports)


def _scopes(node: ast.AST, scope: Scope, owner: str = "") -> Iterator[Scope]:
    """This scope and those of the functions below a node."""
    if node is (scope.function or scope.module.tree):
        yield scope
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield from _scopes(child, Scope(scope.module, child, owner, scope))
        else:
            inside = child.name if isinstance(child, ast.ClassDef) else owner
            yield from _scopes(child, scope, inside)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def _pairs(target: ast.expr, value: ast.expr) -> Sequence[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        return [(target.id, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        parts = zip(target.elts, value.elts, strict=False)
        return [pair for part, given in parts for pair in _pairs(part, given)]
    return []
