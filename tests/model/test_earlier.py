"""What an artefact says about itself, whoever left it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import pytest

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.model.earlier import EarlierModel, load_earlier
from tests.model.conftest import SERVICES

SYMBOL, PARAMS, HYPERPARAMS = artifact.SYMBOL_FILE, artifact.PARAMS_FILE, "hyperparams.json"


@pytest.fixture
def copy(service_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Name in SERVICES -> a folder of its own with its files."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(service_folder(name), tmp_path / "model"))

    return copied


def _told(earlier: EarlierModel) -> tuple[Any, ...]:
    return (
        earlier.kind,
        earlier.base_network,
        earlier.num_classes,
        earlier.class_names,
        earlier.image_shape,
        earlier.validation_map,
    )


@pytest.mark.parametrize("with_hyperparams", [True, False])
@pytest.mark.parametrize("name", SERVICES)
def test_the_services(name: str, with_hyperparams: bool, copy: Callable[[str], Path]) -> None:
    service, folder = SERVICES[name], copy(name)
    if not with_hyperparams:
        (folder / HYPERPARAMS).unlink()
    earlier = load_earlier(folder)
    side = service.image_shape if with_hyperparams else None
    assert _told(earlier) == (
        "service", service.base_network, service.num_classes, (), side, None
    )  # fmt: skip
    assert earlier.graph is not None
    assert set(earlier.arrays.by_name) == {
        name for name in earlier.graph.heads.list_inputs() if name != "data"
    }


def _rename(folder: Path, before: str, after: str) -> Path:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace(before, after)))
    return folder


def _add(folder: Path, *names: str) -> Path:
    """Files that must not be read."""
    for name in names:
        (folder / name).write_text("not read")
    return folder


@pytest.mark.parametrize(
    ("change", "stem"),
    [
        pytest.param(lambda f: None, "model_algo_1", id="as usual"),
        pytest.param(lambda f: _rename(f, "algo_1", "algo_3"), "model_algo_3", id="another host"),
        pytest.param(lambda f: _rename(f, "-0000", "-0029"), "model_algo_1", id="of an epoch"),
        pytest.param(
            lambda f: [_rename(f, "-0000", "-0029"), _add(f, "model_algo_1-0003.params")],
            "model_algo_1",
            id="the last epoch",
        ),
        pytest.param(
            lambda f: _add(f, "model_algo_2-symbol.json", "model_algo_2-0000.params"),
            "model_algo_1",
            id="the first host",
        ),
        pytest.param(
            lambda f: [
                _rename(f, "algo_1", "algo_2"),
                _add(f, "model_algo_10-symbol.json", "model_algo_10-0000.params"),
            ],
            "model_algo_2",
            id="the first host by its number",
        ),
        pytest.param(
            lambda f: _add(f, "deploy_model_algo_1-symbol.json", "deploy_model_algo_1-0000.params"),
            "model_algo_1",
            id="the algorithm's own before what was made of it",
        ),
        pytest.param(
            lambda f: [
                _rename(f, "model_algo_1", "deploy_model_algo_1"),
                _add(f, "model_algo_1-symbol.json"),
            ],
            "deploy_model_algo_1",
            id="a graph without parameters does not count",
        ),
    ],
)
def test_which_files(
    change: Callable[[Path], object],
    stem: str,
    copy: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    folder = copy("vgg-16 at 300")
    change(folder)
    assert load_earlier(folder).num_classes == 3
    assert caplog.messages == [f"Using model weights from file {folder / stem}."]


def _hyperparams(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / HYPERPARAMS
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def _arrays(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        arrays = mx.nd.load(str(folder / PARAMS))
        mx.nd.save(str(folder / PARAMS), change(arrays))

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            _hyperparams(num_classes="4"),
            r"hyperparams\.json says base_network vgg-16 and num_classes 4, the graph beside it is "
            "vgg-16 with 3",
            id="hyperparams.json of another job",
        ),
        pytest.param(
            _hyperparams(base_network="resnet-50"), "says base_network resnet-50", id="other base"
        ),
        pytest.param(_hyperparams(num_classes="many"), "got many", id="a word"),
        pytest.param(_hyperparams(image_shape="9" * 5000), "got 9999999999", id="a huge number"),
        pytest.param(_hyperparams(image_shape=[300]), "image_shape must be", id="a list"),
        pytest.param(_write(HYPERPARAMS, "{"), r"hyperparams\.json is not JSON", id="no JSON"),
        pytest.param(_write(HYPERPARAMS, "[]"), "must hold a JSON object", id="no object"),
        pytest.param(_write(HYPERPARAMS, "[" * 99_999), "is not JSON", id="deep"),
        pytest.param(_write(SYMBOL, "{"), "is not JSON or is damaged", id="no graph"),
        pytest.param(_write(PARAMS, "x" * 99), "is not a parameter file of MXNet", id="no arrays"),
        pytest.param(
            lambda f: (f / PARAMS).write_bytes((f / PARAMS).read_bytes()[:-5000]),
            "is not a parameter file of MXNet or is damaged",
            id="cut",
        ),
        pytest.param(lambda f: (f / PARAMS).unlink(), "holds no pair of files", id="no values"),
        pytest.param(
            lambda f: _rename(f, "model_algo_1", "mine"),
            r"holds no pair of files like .* \(it holds hyperparams\.json, mine-0000\.params",
            id="other names",
        ),
        pytest.param(
            _arrays(lambda a: list(a.values())), "holds arrays without names", id="no names"
        ),
        pytest.param(
            _arrays(lambda a: {k.partition(":")[2]: v for k, v in a.items()}),
            "expected keys arg:NAME and aux:NAME",
            id="keys of Gluon",
        ),
        pytest.param(
            _arrays(lambda a: a | {"arg:fc6_bias": a["arg:fc6_bias"] * float("nan")}),
            "parameter fc6_bias holds NaN or infinity",
            id="diverged",
        ),
        pytest.param(
            _arrays(lambda a: a | {"arg:ssd_conv0_weight": mx.nd.zeros((1,))}),
            r"model\.json is missing",
            id="parameters of ours without model.json",
        ),
    ],
)
def test_refused(
    change: Callable[[Path], object], message: str, copy: Callable[[str], Path]
) -> None:
    folder = copy("vgg-16 at 300")
    change(folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_earlier(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        pytest.param(
            ModelConfig(("a", "b", "c"), 300, "vgg-16", validation={"mAP": 0.25}),
            ("service", "vgg-16", 3, ("a", "b", "c"), 300, 0.25),
            id="names and score are told",
        ),
        pytest.param(
            ModelConfig(("a", "b", "c"), 300, "vgg-16", validation={"mAP": "NaN"}),
            ("service", "vgg-16", 3, ("a", "b", "c"), 300, None),
            id="without a score",
        ),
        pytest.param(
            ModelConfig(("a", "b"), 300, "vgg-16"),
            r"model\.json says base_network vgg-16 and num_classes 2",
            id="other number of names",
        ),
    ],
)
def test_a_network_of_the_service_that_we_saved(
    config: ModelConfig, outcome: tuple[Any, ...] | str, copy: Callable[[str], Path]
) -> None:
    """Told by the names of the parameters; model.json counts, and not hyperparams.json."""
    folder = copy("vgg-16 at 300")
    _hyperparams(image_shape="512")(folder)
    artifact.write_config(folder, config)
    if isinstance(outcome, str):
        with pytest.raises(ArtifactError, match=outcome):
            load_earlier(folder)
    else:
        assert _told(load_earlier(folder)) == outcome


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        pytest.param(
            ModelConfig(("a", "b"), 512, "mobilenet1.0", validation={"mAP": 0.5}),
            ("ours", "mobilenet1.0", 2, ("a", "b"), 512, 0.5),
            id="model.json says it all",
        ),
        pytest.param(ModelConfig(("a",), 300, "lenet"), "got 'lenet'", id="no such network"),
        pytest.param(ModelConfig(("a",), 64, "vgg-16"), "at least 300, got 64", id="no such size"),
    ],
)
def test_ours(config: ModelConfig, outcome: tuple[Any, ...] | str, tmp_path: Path) -> None:
    (tmp_path / SYMBOL).write_text("the graph is built anew")
    mx.nd.save(str(tmp_path / PARAMS), {"arg:ssd_conv0_weight": mx.nd.ones((2, 3))})
    artifact.write_config(tmp_path, config)
    if isinstance(outcome, str):
        with pytest.raises(ArtifactError, match=outcome):
            load_earlier(tmp_path)
    else:
        earlier = load_earlier(tmp_path)
        assert _told(earlier) == outcome
        assert earlier.graph is None
        assert earlier.arrays.by_name["ssd_conv0_weight"].shape == (2, 3)
