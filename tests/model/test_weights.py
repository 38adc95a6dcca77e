"""Pretrained weights: where they are looked for, and that what the file holds arrives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model
from gluoncv.model_zoo.ssd.vgg_atrous import vgg16_atrous_300

from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform.errors import ClientError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments"),
    pytest.mark.filterwarnings("ignore:.*New initializer .* with name constant_"),
]


def _network(base_network: str, side: int = 300) -> Network:
    network = build_network(get_spec(base_network, side), 2)
    for parameter in network.parameters.values():  # recognisable, and faster than initialize
        parameter.initialize(init=mx.init.Constant(0.125))
    return network


def _donor(name: str) -> Any:
    """GluonCV's classifier with random values, running averages included."""
    donor = get_model(name, pretrained=False)
    donor.initialize(mx.init.Xavier())
    donor(mx.nd.zeros((1, 3, 64, 64)))
    random = np.random.default_rng(0)
    for parameter_name, parameter in donor.collect_params().items():
        if "batchnorm" in parameter_name:
            parameter.set_data(mx.nd.array(random.uniform(0.5, 1.5, parameter.shape)))
    return donor


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    donor = _donor("resnet18_v1")
    path = tmp_path_factory.mktemp("weights") / "resnet18_v1.params"
    donor.save_parameters(str(path))
    return path, donor


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """VGG-16 as GluonCV's zoo has it: without the layers of an SSD; beside it a file with them."""
    donor = vgg16_atrous_300()
    donor.initialize()
    donor(mx.nd.zeros((1, 3, 300, 300)))
    folder = tmp_path_factory.mktemp("weights")
    donor.save_parameters(str(folder / "all.params"))
    arrays = mx.nd.load(str(folder / "all.params"))
    trunk = {name: array for name, array in arrays.items() if not name.startswith("extras")}
    path = folder / "vgg16_atrous-1234.params"
    mx.nd.save(str(path), trunk)
    return path, donor


def _arrays(network: Network) -> dict[str, Any]:
    return {name: p.data().asnumpy() for name, p in network.parameters.items()}


def test_every_value_of_a_resnet_arrives(resnet: tuple[Path, Any]) -> None:
    path, donor = resnet
    network = _network("resnet-18")
    count = load_backbone(network, path)
    after = _arrays(network)
    given = {
        name.removeprefix(donor.prefix): parameter.data().asnumpy()
        for name, parameter in donor.collect_params().items()
        if "dense" not in name
    }
    assert count == len(given) == 100
    for name, value in given.items():
        np.testing.assert_array_equal(after[f"ssd_resnetv10_{name}"], value)
    others = [name for name in after if not name.startswith("ssd_resnetv10_")]
    assert len(others) > 20
    assert all((after[name] == 0.125).all() for name in others)


def test_the_features_are_the_classifiers(resnet: tuple[Path, Any]) -> None:
    """The last map of the backbone is what the classifier pools, for the normalised picture."""
    path, donor = resnet
    network = build_network(get_spec("resnet-18", 300), 2)
    initialize(network, [mx.cpu()], 0)
    load_backbone(network, path)
    internals = network.heads.get_internals()
    feature = internals["ssd_resnetv10_stage4_activation1_output"]
    picture = mx.nd.random.uniform(0, 255, (1, 3, 300, 300))
    arrays = {name: p.data() for name, p in network.parameters.items()}
    executor = feature.bind(
        mx.cpu(),
        {name: arrays.get(name, picture) for name in feature.list_arguments()},
        aux_states={name: arrays[name] for name in feature.list_auxiliary_states()},
        grad_req="null",
    )
    got = executor.forward(is_train=False)[0].asnumpy()
    centred = (picture / 255 - mx.nd.array([0.485, 0.456, 0.406]).reshape((1, 3, 1, 1))) / (
        mx.nd.array([0.229, 0.224, 0.225]).reshape((1, 3, 1, 1))
    )
    *layers, _ = donor.features  # the last one pools
    expected = centred
    for layer in layers:
        expected = layer(expected)
    expected = expected.asnumpy()
    assert expected.std() > 0.01
    assert got.shape == expected.shape == (1, 512, 10, 10)
    np.testing.assert_allclose(got, expected, atol=1e-3 * expected.std())


@pytest.mark.parametrize("side", [300, 512], ids=["six maps", "seven maps"])
def test_every_value_of_vgg_arrives(vgg: tuple[Path, Any], side: int) -> None:
    path, donor = vgg
    network = _network("vgg-16", side)
    count = load_backbone(network, path)
    after = _arrays(network)
    assert count == 32  # 13 + 2 convolutions with their bias, the norm of conv4_3, the pixel scale
    ours = "ssd_vggatrousextractor0_"
    for name, parameter in donor.collect_params().items():
        plain = name.removeprefix(donor.prefix)
        if "extra" not in plain and not plain.startswith("normalize"):
            np.testing.assert_array_equal(after[ours + plain], parameter.data().asnumpy())
    for name in after:
        if "extra" in name.removeprefix(ours) or "predictor" in name:
            assert (after[name] == 0.125).all()


def test_a_file_with_the_ssds_extra_layers_gives_these_too(vgg: tuple[Path, Any]) -> None:
    assert load_backbone(_network("vgg-16"), vgg[0].with_name("all.params")) == 32 + 4 * 2 * 2


@pytest.mark.parametrize("base_network", ["mobilenet1.0", "resnet-50", "resnet-50b"])
def test_other_networks(base_network: str, tmp_path: Path) -> None:
    network = _network(base_network)
    backbone_name = get_spec(base_network, 300).backbone
    assert backbone_name is not None
    donor = _donor(backbone_name)
    donor.save_parameters(str(tmp_path / "w.params"))
    backbone = [name for name in network.parameters if name.startswith(("ssd_res", "ssd_mob"))]
    assert load_backbone(network, tmp_path / "w.params") == len(backbone)
    first = next(p for name, p in donor.collect_params().items() if name.endswith("conv0_weight"))
    given = next(p for name, p in network.parameters.items() if name.endswith("conv0_weight"))
    np.testing.assert_array_equal(given.data().asnumpy(), first.data().asnumpy())


def test_a_file_without_the_classifier_will_do(resnet: tuple[Path, Any], tmp_path: Path) -> None:
    arrays = mx.nd.load(str(resnet[0]))
    trunk = {name: array for name, array in arrays.items() if not name.startswith("output.")}
    assert len(trunk) == 100 == len(arrays) - 2
    mx.nd.save(str(tmp_path / "trunk.params"), trunk)
    assert load_backbone(_network("resnet-18"), tmp_path / "trunk.params") == 100


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _text(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _nameless(path: Path) -> None:
    mx.nd.save(str(path), [mx.nd.zeros((1,))])


def _one_missing(path: Path) -> None:
    arrays = mx.nd.load(str(path))
    arrays.pop(next(name for name in arrays if name.endswith("0.weight")))
    mx.nd.save(str(path), arrays)


def _other_shape(path: Path) -> None:
    arrays = mx.nd.load(str(path))
    name = next(name for name in arrays if name.endswith("0.weight"))
    arrays[name] = mx.nd.zeros((1, 2, 3))
    mx.nd.save(str(path), arrays)


def _other_names(path: Path) -> None:
    arrays = mx.nd.load(str(path))
    mx.nd.save(str(path), {f"arg:{k.replace('.', '_')}": v for k, v in arrays.items()})


def _diverged(path: Path) -> None:
    """Without a word the first loss would be NaN, and the learning rate blamed for it."""
    arrays = mx.nd.load(str(path))
    name = next(name for name in arrays if name.endswith("0.weight"))
    arrays[name][0] = float("nan")
    mx.nd.save(str(path), arrays)


@pytest.mark.parametrize(
    ("base_network", "damage", "reason"),
    [
        ("resnet-18", _cut, "Invalid NDArray file format"),
        ("resnet-18", _text, "Invalid NDArray file format"),
        ("resnet-18", _empty, "Invalid NDArray file format"),
        ("resnet-18", _nameless, "no named arrays"),
        ("resnet-18", _one_missing, "lacks conv0_weight"),
        ("resnet-18", _other_shape, "shape"),
        ("resnet-18", _other_names, "not present in ParameterDict"),
        ("resnet-18", _diverged, "conv0_weight holds NaN or infinity"),
        ("resnet-18", Path.unlink, "No such file"),
        ("vgg-16", _cut, "Invalid NDArray file format"),
        ("vgg-16", _one_missing, "lacks conv0_weight"),
        ("vgg-16", _other_shape, "shape"),
        ("vgg-16", _diverged, "conv0_weight holds NaN or infinity"),
        ("vgg-16", _other_names, "lacks conv0_weight"),
    ],
)
def test_damaged(
    base_network: str,
    damage: Callable[[Path], None],
    reason: str,
    resnet: tuple[Path, Any],
    vgg: tuple[Path, Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.params"
    shutil.copy((resnet if base_network == "resnet-18" else vgg)[0], path)
    damage(path)
    network = build_network(get_spec(base_network, 300), 2)
    with pytest.raises(ClientError, match=reason) as caught:
        load_backbone(network, path)
    assert str(path) in str(caught.value)
    assert f"base_network {base_network} needs" in str(caught.value)


@pytest.mark.parametrize("base_network", ["vgg-16", "resnet-50", "resnet-50b", "mobilenet1.0"])
def test_weights_of_another_network(base_network: str, resnet: tuple[Path, Any]) -> None:
    """Above all for VGG-16, where GluonCV's way of loading leaves random values without a word."""
    network = _network(base_network)
    with pytest.raises(ClientError, match=f"base_network {base_network} needs"):
        load_backbone(network, resnet[0])
    assert all((value == 0.125).all() for value in _arrays(network).values())


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param(["mine.params"], "mine.params", id="the only one, whatever its name"),
        pytest.param(["a/b/mine.params"], "a/b/mine.params", id="in a sub-folder"),
        pytest.param(
            ["resnet18_v1-a0666292.params", "vgg16_atrous.params"],
            "resnet18_v1-a0666292.params",
            id="the one of that name",
        ),
        pytest.param(
            ["resnet18_v1b-2d9d980c.params", "resnet18_v1-a0666292.params"],
            "resnet18_v1-a0666292.params",
            id="v1b is another network",
        ),
    ],
)
def test_the_channel(files: list[str], found: str, tmp_path: Path) -> None:
    channel = _touch(tmp_path / "channel", *files)
    image = _touch(tmp_path / "image", "resnet18_v1.params")
    environ = {"OBJECT_DETECTION_WEIGHTS": str(image)}
    got = find_weights("resnet-18", "resnet18_v1", channel, environ)
    assert got == channel / found


@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param(["model.tar.gz"], "found: none", id="no .params"),
        pytest.param(["a.params", "b.params"], "found: a.params, b.params", id="neither is named"),
        pytest.param(
            ["resnet18_v1.params", "resnet18_v1-a0666292.params"], "found: ", id="both are named"
        ),
    ],
)
def test_a_channel_that_cannot_be_used(files: list[str], told: str, tmp_path: Path) -> None:
    """An error, even where the image has weights: the user meant the channel."""
    channel = _touch(tmp_path / "channel", *files)
    image = _touch(tmp_path / "image", "resnet18_v1.params")
    environ = {"OBJECT_DETECTION_WEIGHTS": str(image)}
    with pytest.raises(ClientError, match=f"named resnet18_v1.*{told}"):
        find_weights("resnet-18", "resnet18_v1", channel, environ)


@pytest.mark.parametrize(
    ("backbone", "files", "found"),
    [
        ("resnet50_v1", ["resnet50_v1.params"], "resnet50_v1.params"),
        ("resnet50_v1", ["resnet50_v1-117a384e.params"], "resnet50_v1-117a384e.params"),
        pytest.param("resnet50_v1", ["resnet50_v1b.params"], None, id="v1b is another network"),
        pytest.param(
            "resnet50_v1b",
            ["resnet50_v1b-0ecdba34.params", "resnet50_v1b.params"],
            "resnet50_v1b.params",
            id="the user's own before the zoo's",
        ),
        pytest.param("resnet50_v1", ["resnet50_v1.txt"], None, id="not .params"),
        pytest.param("resnet50_v1", [], None, id="nothing there"),
        pytest.param(
            None, ["vgg16_atrous-4fa2e1ad.params"], "vgg16_atrous-4fa2e1ad.params", id="vgg-16"
        ),
    ],
)
def test_the_image(
    backbone: str | None, files: list[str], found: str | None, tmp_path: Path
) -> None:
    folder = _touch(tmp_path / "image", *files)
    environ = {"OBJECT_DETECTION_WEIGHTS": str(folder)}
    expected = None if found is None else folder / found
    assert find_weights("any", backbone, None, environ) == expected
