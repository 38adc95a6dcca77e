"""The table of hyperparameters: ranges, defaults, faults, and the document made from it."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import (
    SETTINGS,
    Hyperparameters,
    document,
    parse,
)

REQUIRED = {"num_classes": "3", "num_training_samples": "205"}

SERVICE_DEFAULTS = {
    "base_network": "vgg-16",
    "epochs": "30",
    "mini_batch_size": "32",
    "image_shape": "300",
    "learning_rate": "0.001",
    "lr_scheduler_factor": "0.1",
    "lr_scheduler_step": "",
    "optimizer": "sgd",
    "momentum": "0.9",
    "weight_decay": "0.0005",
    "overlap_threshold": "0.5",
    "nms_threshold": "0.45",
    "nms_topk": "400",
    "label_width": "350",
    "freeze_layer_pattern": "",
    "early_stopping": "False",
    "early_stopping_min_epochs": "10",
    "early_stopping_patience": "5",
    "early_stopping_tolerance": "0.0",
    "kv_store": "device",
}

REAL_JOB = {
    "label_width": "150", "early_stopping_min_epochs": "10", "epochs": "30",
    "overlap_threshold": "0.5", "lr_scheduler_factor": "0.25", "_num_kv_servers": "auto",
    "weight_decay": "0.0005", "mini_batch_size": "30", "use_pretrained_model": "1",
    "freeze_layer_pattern": "", "lr_scheduler_step": "10,20", "early_stopping": "False",
    "early_stopping_patience": "5", "momentum": "0.9", "num_training_samples": "5870",
    "optimizer": "sgd", "_tuning_objective_metric": "", "early_stopping_tolerance": "0.0",
    "learning_rate": "0.001", "kv_store": "device", "nms_threshold": "0.45", "num_classes": "2",
    "base_network": "resnet-50", "nms_topk": "400", "_kvstore": "device", "image_shape": "512",
}  # fmt: skip


def _faults(raw: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(ClientError) as caught:
        parse(raw)
    return caught.value.faults


def test_defaults_are_those_of_the_service() -> None:
    strings = parse({**REQUIRED, "recipe": "service"}).as_strings()
    assert {name: strings[name] for name in SERVICE_DEFAULTS} == SERVICE_DEFAULTS
    service = {setting.name for setting in SETTINGS if setting.service}
    assert service == {*SERVICE_DEFAULTS, *REQUIRED, "use_pretrained_model"}


OURS = {"optimizer", "learning_rate"} | {s.name for s in SETTINGS if not s.service}


@pytest.mark.parametrize(
    ("recipe", "chosen"),
    [
        pytest.param(
            {"recipe": "modern"},
            {
                "recipe": "modern",
                "optimizer": "adam",
                "learning_rate": 0.001,
                "lr_schedule": "cosine",
                "warmup_steps": None,
                "ema_decay": None,
            },
            id="modern leaves to the number of images what depends on it",
        ),
        pytest.param(
            {"recipe": "service"},
            {
                "recipe": "service",
                "optimizer": "sgd",
                "learning_rate": 0.001,
                "lr_schedule": "step",
                "warmup_steps": 0,
                "ema_decay": 0.0,
            },
            id="service",
        ),
    ],
)
def test_defaults_of_our_own(recipe: dict[str, str], chosen: dict[str, object]) -> None:
    values = parse({**REQUIRED, **recipe})
    assert {name: getattr(values, name) for name in OURS} == {
        **chosen,
        "class_names": (),
        "precision": "auto",
        "seed": 0,
        "validation_share": 0.0,
        "max_dropped_images": 0.1,
        "max_dropped_boxes": 0.1,
        "shuffle_buffer_mib": 256,
        "quantize": "auto",
        "tensorboard": False,
        "distribution": "auto",
        "gradient_compression": "none",
        "augmentation": ("colour", "expand", "crop", "flip"),
    }


def test_modern_is_the_recipe_of_a_job_that_names_none() -> None:
    assert parse(REQUIRED) == parse({**REQUIRED, "recipe": "modern"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"optimizer": "sgd"}, {"learning_rate": 0.001}, id="the batch is 32"),
        pytest.param(
            {"mini_batch_size": 8}, {"learning_rate": 0.0005}, id="adam: the root of a quarter"
        ),
        pytest.param(
            {"mini_batch_size": 8, "optimizer": "sgd"},
            {"learning_rate": 0.00025},
            id="sgd: a share",
        ),
        pytest.param(
            {"mini_batch_size": 8, "learning_rate": 0.002}, {"learning_rate": 0.002}, id="given"
        ),
        pytest.param(
            {"mini_batch_size": 8, "recipe": "service"}, {"learning_rate": 0.001}, id="service"
        ),
        pytest.param(
            {"mini_batch_size": 10**9, "optimizer": "sgd"},
            {"learning_rate": 1.0},
            id="in its range",
        ),
        pytest.param({"lr_scheduler_step": "10"}, {"lr_schedule": "step"}, id="steps are given"),
        pytest.param({"lr_schedule": "step"}, {"lr_schedule": "step"}, id="step without steps"),
        pytest.param(
            {"recipe": "service", "lr_schedule": "cosine", "warmup_steps": 5, "ema_decay": 0.9},
            {"lr_schedule": "cosine", "warmup_steps": 5, "ema_decay": 0.9},
            id="what is given counts with service too",
        ),
        pytest.param(
            {"optimizer": "sgd", "warmup_steps": 0, "ema_decay": 0},
            {"optimizer": "sgd", "warmup_steps": 0, "ema_decay": 0.0},
            id="what is given counts with modern",
        ),
    ],
)
def test_what_a_recipe_leaves_to_the_user(
    given: dict[str, object], expected: dict[str, object]
) -> None:
    values = parse({**REQUIRED, **given})
    assert {name: getattr(values, name) for name in expected} == pytest.approx(expected)


def test_whether_to_use_pretrained_weights_is_open_until_it_is_said() -> None:
    assert parse(REQUIRED).use_pretrained_model is None
    assert parse({**REQUIRED, "use_pretrained_model": ""}).use_pretrained_model is None
    assert parse({**REQUIRED, "use_pretrained_model": "0"}).use_pretrained_model is False


def test_class_names_and_their_number_must_agree() -> None:
    values = parse({**REQUIRED, "num_classes": "2", "class_names": "red cell, platelet"})
    assert values.class_names == ("red cell", "platelet")
    with pytest.raises(ClientError, match=r"2 names \(a, b\), and num_classes is 3"):
        parse({**REQUIRED, "num_classes": "3", "class_names": "a,b"})


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param('"cat","dog"', ("cat", "dog"), id="each in quotes"),
        pytest.param('"cat, dog"', ("cat", "dog"), id="all in quotes"),
        pytest.param("['cat', 'dog']", ("cat", "dog"), id="a list as SageMaker's SDK writes it"),
        pytest.param(["light, red", "car"], ("light, red", "car"), id="a comma in a JSON list"),
        pytest.param('["light, red", "car"]', ("light, red", "car"), id="the same as text"),
    ],
)
def test_class_names_as_they_are_spelt(given: object, names: tuple[str, ...]) -> None:
    values = parse({**REQUIRED, "num_classes": "2", "class_names": given})
    assert values.class_names == names
    assert parse(values.as_strings()) == values


def test_a_real_job_of_the_service_is_read_and_written_alike() -> None:
    values = parse(REAL_JOB)
    assert values.lr_scheduler_step == (10, 20)
    assert values.use_pretrained_model is True
    strings = values.as_strings()
    given_names = {name for name in REAL_JOB if not name.startswith("_")}
    assert {n: strings[n] for n in given_names} == {n: REAL_JOB[n] for n in given_names}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("num_classes", "1", 1, id="one class"),
        pytest.param("base_network", "resnet-50", "resnet-50", id="the service's other network"),
        pytest.param("base_network", "resnet-18", "resnet-18", id="ours"),
        pytest.param("base_network", "resnet-101", "resnet-101", id="ours"),
        pytest.param("base_network", "resnet-50b", "resnet-50b", id="ours"),
        pytest.param("base_network", "mobilenet1.0", "mobilenet1.0", id="ours"),
        pytest.param("use_pretrained_model", "1", True, id="digit"),
        pytest.param("use_pretrained_model", True, True, id="JSON boolean"),
        pytest.param("epochs", 7, 7, id="JSON number in a hand-written file"),
        pytest.param("mini_batch_size", "16.0", 16, id="decimal"),
        pytest.param("mini_batch_size", '"16"', 16, id="quoted, as JSON inside JSON"),
        pytest.param("mini_batch_size", " 16 ", 16, id="spaces"),
        pytest.param("image_shape", "300", 300, id="smallest"),
        pytest.param("learning_rate", "1e-6", 1e-6, id="smallest of the tuning range"),
        pytest.param("learning_rate", "1", 1.0, id="largest"),
        pytest.param("ema_decay", "0", 0.0, id="no average"),
        pytest.param("augmentation", "flip, Colour", ("colour", "flip"), id="in our order"),
        pytest.param("augmentation", "false", (), id="none, as a flag"),
        pytest.param("augmentation", "none", (), id="none"),
        pytest.param(
            "augmentation", "True", ("colour", "expand", "crop", "flip"), id="all, as a flag"
        ),
        pytest.param("augmentation", "all", ("colour", "expand", "crop", "flip"), id="all"),
        pytest.param("momentum", "0.0", 0.0, id="tuning tries it"),
        pytest.param("momentum", "1", 1.0, id="largest"),
        pytest.param("weight_decay", "0.0", 0.0, id="tuning tries it"),
        pytest.param("weight_decay", "0.999", 0.999, id="tuning tries it"),
        pytest.param("overlap_threshold", "1.0", 1.0, id="largest"),
        pytest.param("early_stopping", "true", True, id="lower case"),
        pytest.param("quantize", "False", "0", id="as the SDK writes False"),
        pytest.param("quantize", True, "1", id="JSON boolean"),
        pytest.param("quantize", "Auto", "auto", id="upper case"),
        pytest.param("early_stopping", False, False, id="JSON boolean"),
        pytest.param("early_stopping_tolerance", "1", 1.0, id="largest"),
        pytest.param("lr_scheduler_step", "10, 20", (10, 20), id="space after the comma"),
        pytest.param("lr_scheduler_step", [10, 20], (10, 20), id="JSON list"),
        pytest.param("lr_scheduler_step", "100", (100,), id="after the last epoch: harmless"),
        pytest.param("lr_scheduler_step", 10, (10,), id="JSON number"),
        pytest.param("freeze_layer_pattern", "false", "", id="the console's way to say none"),
        pytest.param("freeze_layer_pattern", "^conv1_", "^conv1_", id="pattern"),
        pytest.param("kv_store", "dist_sync", "dist_sync", id="several machines"),
        pytest.param("optimizer", "Adam", "adam", id="upper case"),
        pytest.param("epochs", "", 30, id="empty counts as not given"),
        pytest.param("epochs", None, 30, id="null counts as not given"),
        pytest.param("warmup_steps", "0", 0, id="none"),
        pytest.param("seed", "2147483647", 2**31 - 1, id="largest"),
    ],
)
def test_accepts(name: str, value: object, expected: object) -> None:
    parsed = getattr(parse({**REQUIRED, name: value}), name)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        pytest.param("num_classes", "0", "'0' is too small", id="no class"),
        pytest.param("num_training_samples", "-1", "'-1' is too small", id="negative"),
        pytest.param("base_network", "resnet50", "did you mean 'resnet-50'", id="misspelt"),
        pytest.param("use_pretrained_model", "2", "must be 1 or 0.", id="no flag"),
        pytest.param("epochs", "0", "whole number >= 1 (default: 30).", id="default is named"),
        pytest.param("mini_batch_size", "1.5", "'1.5' is not a whole number", id="fraction"),
        pytest.param("mini_batch_size", True, "True is not a number", id="JSON boolean"),
        pytest.param("image_shape", "299", "a whole number >= 300", id="too small"),
        pytest.param("learning_rate", "0", "a number > 0 and <= 1", id="open end"),
        pytest.param("learning_rate", "1.1", "'1.1' is too large", id="too large"),
        pytest.param("learning_rate", [0.1], "[0.1] is not a number", id="a list of one"),
        pytest.param("lr_scheduler_factor", "1", "a number > 0 and < 1", id="would not fall"),
        pytest.param("lr_scheduler_factor", "0", "a number > 0 and < 1", id="would stop"),
        pytest.param("momentum", "-0.1", "a number >= 0 and <= 1", id="negative"),
        pytest.param("weight_decay", "1", "a number >= 0 and < 1", id="open end"),
        pytest.param("overlap_threshold", "0", "a number > 0 and <= 1", id="open end"),
        pytest.param("nms_threshold", "0", "a number > 0 and <= 1", id="open end"),
        pytest.param("nms_topk", "0", "whole number >= 1", id="nothing would be left"),
        pytest.param("label_width", "0", "whole number >= 1", id="too small"),
        pytest.param("optimizer", "adagrad", "one of sgd, adam, rmsprop, adadelta", id="unknown"),
        pytest.param("early_stopping", "maybe", "True or False", id="no flag"),
        pytest.param("quantize", "int8", "one of auto, 0, 1", id="no flag"),
        pytest.param("early_stopping_patience", "0", "whole number >= 1", id="too small"),
        pytest.param("early_stopping_min_epochs", "0", "whole number >= 1", id="too small"),
        pytest.param("early_stopping_tolerance", "1.5", ">= 0 and <= 1", id="too large"),
        pytest.param("lr_scheduler_step", "20,10", "10 follows 20", id="descending"),
        pytest.param("freeze_layer_pattern", "(", "not a regular expression", id="unbalanced"),
        pytest.param("kv_store", "dist", "one of device, dist_sync, dist_async", id="unknown"),
        pytest.param("precision", "fp16", "float16", id="unknown"),
        pytest.param("recipe", "old", "one of modern, service", id="unknown"),
        pytest.param("augmentation", "flip,crops", "did you mean 'crop'", id="one is unknown"),
        pytest.param("ema_decay", "1", "a number >= 0 and < 1", id="would never move"),
        pytest.param("lr_schedule", "poly", "one of auto, step, cosine", id="unknown"),
        pytest.param("seed", "2147483648", "is too large", id="MXNet takes 31 bits"),
        pytest.param("epochs", {"a": 1}, "is a JSON object", id="no text at all"),
    ],
)
def test_refuses(name: str, value: object, fault: str) -> None:
    (text,) = _faults({**REQUIRED, name: value})
    assert text.startswith(f"Hyperparameter {name}: ")
    assert fault in text


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        pytest.param("mini_batch_siz", "Did you mean mini_batch_size?", id="letter lost"),
        pytest.param("Epochs", "Did you mean epochs?", id="upper case"),
        pytest.param("num-classes", "Did you mean num_classes?", id="hyphen"),
        pytest.param("zzz", "Remove it.", id="near nothing"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, cure: str) -> None:
    assert _faults({**REQUIRED, name: "1"}) == (f"Unknown hyperparameter: {name}. {cure}",)


def test_names_of_the_platform_are_ignored() -> None:
    hidden: dict[str, object] = {"_kvstore": "device", "sagemaker_program": "a.py"}
    assert parse({**REQUIRED, **hidden}) == parse(REQUIRED)


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param({}, id="not there"),
        pytest.param({"num_classes": ""}, id="empty, as in the service's own defaults"),
        pytest.param({"num_classes": None}, id="null"),
        pytest.param({"num_classes": "  "}, id="only spaces"),
    ],
)
def test_missing_ones_are_named(missing: dict[str, object]) -> None:
    (text,) = _faults({"num_training_samples": "205", **missing})
    assert text.startswith("Missing required hyperparameter: num_classes. It must be")


def test_all_faults_come_at_once() -> None:
    faults = _faults({"epoch": "3", "learning_rate": "5", "optimizer": "x", "num_classes": "2"})
    assert [text.split(":")[0] for text in faults] == [
        "Unknown hyperparameter",
        "Missing required hyperparameter",
        "Hyperparameter learning_rate",
        "Hyperparameter optimizer",
    ]


def test_cosine_and_steps_contradict_each_other() -> None:
    (text,) = _faults({**REQUIRED, "lr_schedule": "cosine", "lr_scheduler_step": "10"})
    assert "contradict" in text
    assert parse({**REQUIRED, "lr_schedule": "step", "lr_scheduler_step": "10"})


def test_a_long_bad_value_is_shortened() -> None:
    (text,) = _faults({**REQUIRED, "learning_rate": "x" * 2500})
    assert len(text) < 250


@given(
    st.fixed_dictionaries(
        {"num_classes": st.integers(1, 10**9), "num_training_samples": st.integers(1, 10**9)},
        optional={
            "use_pretrained_model": st.booleans(),
            "early_stopping": st.booleans(),
            "learning_rate": st.floats(0, 1, exclude_min=True),
            "momentum": st.floats(0, 1),
            "lr_scheduler_step": st.sets(st.integers(1, 1000)).map(sorted),
            "freeze_layer_pattern": st.sampled_from(["", "^conv1_", "(a|b).*"]),
            "base_network": st.sampled_from(["vgg-16", "mobilenet1.0"]),
            "recipe": st.sampled_from(["modern", "service"]),
            "mini_batch_size": st.integers(1, 10**6),
            "augmentation": st.sampled_from(["all", "none", "crop,flip", "expand"]),
        },
    )
)
def test_written_as_text_they_read_the_same(raw: dict[str, object]) -> None:
    values = parse(raw)
    strings = values.as_strings()
    assert parse(json.loads(json.dumps(strings))) == values
    assert list(strings) == [field.name for field in dataclasses.fields(Hyperparameters)]


def test_every_default_lies_in_its_own_range() -> None:
    for setting in SETTINGS:
        if setting.default_text:
            assert setting.kind.parse(setting.default_text) == setting.default, setting.name


def test_the_document_is_current() -> None:
    file = Path(__file__).parents[2] / "docs" / "hyperparameters.md"
    assert file.read_text(encoding="utf-8") == document(), (
        "python -m sagemaker_object_detection.platform.hyperparameters > docs/hyperparameters.md"
    )


def test_the_document_has_a_well_formed_row_for_every_name() -> None:
    rows = [line for line in document().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [setting.name for setting in SETTINGS]
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}
