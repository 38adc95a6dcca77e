"""Who may import whom: layers import downwards only, and heavy libraries stay at their edge."""

import ast
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "sagemaker_object_detection"
SOURCE = REPOSITORY / "src" / PACKAGE

BOTTOM = {"boxes", "colors", "images", "platform"}
MODEL = BOTTOM | {"model"}
MAY_IMPORT = {
    "boxes": set(),
    "colors": set(),
    "images": set(),
    "platform": set(),
    "model": BOTTOM,
    "data": MODEL,
    "inference": MODEL,
    "evaluation": MODEL | {"data", "inference"},
    "training": MODEL | {"data", "inference", "evaluation"},
    # predict answers as an endpoint does, in its form and on the engine that it would choose.
    "tools": MODEL | {"data", "inference", "evaluation", "serving"},
    "api": MODEL | {"inference", "serving", "tools"},
    # The endpoint answers with a model alone: it knows nothing of data sets or of training.
    "serving": MODEL | {"inference"},
}

EDGES = [
    pytest.param(
        "mxnet",
        ["model.*", "training.*", "inference.engine_mxnet"],
        id="mxnet: the rest is arithmetic that tests run without it",
    ),
    pytest.param(
        "openvino",
        ["inference.engine_openvino", "inference.quantise"],
        id="openvino: the engine of CPUs, and what it computes INT8 from",
    ),
    pytest.param(
        "onnx",
        ["model.onnx_heads", "model.onnx_export", "inference.onnx_graph", "inference.quantise"],
        id="onnx: the twins' files, which the engine of CPUs reads by itself",
    ),
    pytest.param("gluoncv", ["model.*"], id="gluoncv: builds the network and nothing else"),
    pytest.param("flask", ["serving.*"], id="flask: the endpoint's"),
    pytest.param("gunicorn", ["serving.*"], id="gunicorn: the endpoint's"),
    pytest.param("prometheus_client", ["serving.metrics*"], id="prometheus_client: /metrics"),
    pytest.param("click", ["tools.*"], id="click: the command line's"),
    pytest.param(
        "numpy",
        ["api", "boxes", "images", *(f"{layer}.*" for layer in MAY_IMPORT if layer not in BOTTOM)],
        id="numpy: a job is checked before any numerical library is loaded",
    ),
]

WITHOUT_MXNET = [
    pytest.param(["platform.*"], id="OMP_NUM_THREADS has to be set before MXNet is imported"),
    pytest.param(["boxes", "images", "data.*"], id="the road of the data is numpy and OpenCV"),
    pytest.param(["model.artifact"], id="reading an artefact needs no MXNet"),
    pytest.param(
        ["inference.engine_openvino", "inference.decode", "inference.predictor"],
        id="an endpoint on a CPU runs without MXNet",
    ),
    pytest.param(["inference.quantise"], id="INT8 is made of an ONNX file, whoever wrote it"),
    pytest.param(["api"], id="the Python API loads MXNet for models that need it"),
    pytest.param(["tools.cli"], id="the command line answers at once"),
]


def module_name(path: Path) -> str:
    """src/<package>/data/recordio.py -> data.recordio; a package is the name of its folder."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, package: str) -> set[str]:
    """Full names of what a module imports, wherever in it the import stands.

    `from a import b` counts as `a.b`, since b may be a module. `package` is the full name of the
    package that the module lies in, from which relative imports count.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def layer_of(name: str) -> str | None:
    """The layer that a full name belongs to, None for what is not ours or of the package itself."""
    package, _, rest = name.partition(".")
    layer = rest.partition(".")[0]
    return layer if package == PACKAGE and layer in MAY_IMPORT else None


def imports_of(path: Path) -> set[str]:
    package = ".".join([PACKAGE, *path.relative_to(SOURCE).parent.parts])
    return imported(path.read_text(), package)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        pytest.param("import a.b as c", {"a.b"}, id="plain"),
        pytest.param("from a import b, c", {"a.b", "a.c"}, id="modules of a package"),
        pytest.param("def f():\n    import a", {"a"}, id="hidden in a function"),
        pytest.param("try:\n    import a\nexcept E:\n    pass", {"a"}, id="guarded"),
        pytest.param("from . import a", {"p.q.a"}, id="relative, same package"),
        pytest.param("from ..r import a", {"p.r.a"}, id="relative, package beside"),
        pytest.param("a = 'import b'", set(), id="only a text"),
    ],
)
def test_imports_are_found(source: str, names: set[str]) -> None:
    assert imported(source, "p.q") == names


def test_every_module_belongs_to_a_layer() -> None:
    layers = {name.partition(".")[0] for name in MODULES if name}
    assert layers <= set(MAY_IMPORT), "name the new layer and what it may import in MAY_IMPORT"


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_layers_import_downwards_only(module: str) -> None:
    own = module.partition(".")[0]
    layers = {layer_of(name) for name in imports_of(MODULES[module])} - {None, own}
    assert layers <= MAY_IMPORT[own]


@pytest.mark.parametrize(("library", "edge"), EDGES)
def test_libraries_stay_at_their_edge(library: str, edge: list[str]) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == library for name in imports_of(path))
    }
    assert {user for user in users if not any(fnmatch(user, one) for one in edge)} == set()


@pytest.mark.parametrize("patterns", WITHOUT_MXNET)
def test_mxnet_is_not_reached(patterns: list[str]) -> None:
    """Imports for real, so that what the imported modules import counts too."""
    modules = [name for name in MODULES if any(fnmatch(name, one) for one in patterns)]
    assert modules
    program = "\n".join(
        [f"import {PACKAGE}.{module}" for module in modules]
        + ["import sys", "print('mxnet' in sys.modules)"]
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=SOURCE.parent, capture_output=True, text=True
    )
    assert (run.stdout, run.stderr, run.returncode) == ("False\n", "", 0)


@pytest.mark.parametrize(
    ("program", "layer"), [("train", "training"), ("serve", "serving")], ids=["train", "serve"]
)
def test_executables_know_one_layer(program: str, layer: str) -> None:
    names = imported((REPOSITORY / program).read_text(), "")
    assert {layer_of(name) for name in names} - {None} == {layer}
