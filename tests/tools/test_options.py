"""Names of classes as an option lists them."""

import click
import pytest

from sagemaker_object_detection.tools.options import class_list

COMMAND = click.Command("c", params=[click.Option(["--classes"], callback=class_list)])

LISTS = [
    pytest.param([], None, id="not given"),
    pytest.param(["--classes", "car, dog"], ("car", "dog"), id="commas"),
    pytest.param(["--classes", '["car, parked", "dog"]'], ("car, parked", "dog"), id="JSON"),
    pytest.param(["--classes", "['car', 'dog']"], ("car", "dog"), id="as Python writes it"),
]


@pytest.mark.parametrize(("arguments", "names"), LISTS)
def test_names(arguments: list[str], names: tuple[str, ...] | None) -> None:
    assert COMMAND.make_context("c", arguments).params["classes"] == names


FAULTS = [
    pytest.param(
        "car,,dog", "the list 'car,,dog' holds something that is not a name", id="an empty name"
    ),
    pytest.param("car,dog,car", "the list 'car,dog,car' holds 'car' twice", id="twice"),
    pytest.param("", "the list '' names no class", id="nothing"),
    pytest.param("[]", "the list '[]' names no class", id="an empty list"),
]


@pytest.mark.parametrize(("value", "what"), FAULTS)
def test_faults(value: str, what: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        COMMAND.make_context("c", ["--classes", value])
    assert caught.value.message == what
