"""The hyperparameters of a training job: one table that reads, checks and documents them.

A field of Hyperparameters is a row of the table; SETTINGS, parse and the document are made from
it. `python -m sagemaker_object_detection.platform.hyperparameters` prints docs/hyperparameters.md.
"""

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.kinds import (
    AutoFlag,
    Choice,
    Epochs,
    Flag,
    Names,
    Pattern,
    Real,
    Setting,
    Subset,
    Whole,
    required,
    row,
    settings_of,
    unquoted,
)

_OUR_NETWORKS = ("resnet-18", "resnet-50b", "resnet-101", "mobilenet1.0")
_LARGEST_SEED = 2**31 - 1
AUGMENTATIONS = ("colour", "expand", "crop", "flip")


RECIPES = ("modern", "service")
REFERENCE_BATCH = 32
_REFERENCE_RATE = 0.001

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "modern": {"optimizer": "adam", "warmup_steps": None, "ema_decay": None},
    "service": {"optimizer": "sgd", "warmup_steps": 0, "ema_decay": 0.0},
}


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters with what their recipe says of those that were not given.

    Args:
        values: with `recipe`, `mini_batch_size`, `lr_scheduler_step`, `lr_schedule` and what was
            given. What still is None afterwards depends on the number of images.
    """
    recipe = values["recipe"]
    full = {**_DEFAULTS[recipe], **{k: v for k, v in values.items() if v is not None}}
    if full["lr_schedule"] == "auto":
        modern = recipe == "modern" and not full["lr_scheduler_step"]
        full["lr_schedule"] = "cosine" if modern else "step"
    if full.get("learning_rate") is None:
        share = full["mini_batch_size"] / REFERENCE_BATCH if recipe == "modern" else 1.0
        full["learning_rate"] = min(1.0, scaled(_REFERENCE_RATE, full["optimizer"], share))
    return full


def scaled(rate: float, optimizer: str, share: float) -> float:
    """A learning rate for a batch `share` times as large as the one that `rate` was meant for.

    In proportion for sgd (Goyal et al. 2017, arXiv:1706.02677); by the square root for the others,
    which divide by the size of the gradients (Malladi et al. 2022, arXiv:2205.10287).
    """
    return rate * (share if optimizer == "sgd" else math.sqrt(share))


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The checked values of a job, one attribute for each name."""

    num_classes: int = required(
        Whole(1), "Number of object classes. The class ids of the data are 0 to num_classes - 1."
    )
    num_training_samples: int = required(
        Whole(1),
        "Number of images in the train channel. The steps of the learning rate are counted by it.",
    )
    class_names: tuple[str, ...] = row(
        Names(),
        (),
        "One name for each class, class_id 0 first. When not given they are taken from the data: "
        "COCO categories, a classes.txt in the train channel, categories or class-map of the "
        "annotations.",
        service=False,
    )
    recipe: str = row(
        Choice(RECIPES),
        "modern",
        "What the hyperparameters are that are not given: service is SageMaker's algorithm as it "
        "is documented; modern has adam, a warm-up, a cosine, averaged weights, a learning rate by "
        "the batch, and no weight decay on BatchNorm and biases.",
        service=False,
    )
    base_network: str = row(
        Choice(("vgg-16", "resnet-50", *_OUR_NETWORKS)),
        "vgg-16",
        "The network that the detector is built on. resnet-50b is the ResNet-50 of torchvision and "
        "timm (GluonCV's resnet50_v1b), whose weights `object-detection weights import` takes.",
        extra=_OUR_NETWORKS,
    )
    use_pretrained_model: bool | None = row(
        Flag("1", "0"),
        None,
        "1 starts from weights of the base network trained on ImageNet, which the channel "
        "pretrained or the image brings; 0 from scratch. When not given: 1 if such weights are "
        "there, otherwise 0 with a warning.",
    )
    epochs: int = row(Whole(1), 30, "Number of passes over the train channel.")
    mini_batch_size: int = row(
        Whole(1), 32, "Images in a batch on one machine, shared by its GPUs."
    )
    image_shape: int = row(
        Whole(300),
        300,
        "Images are resized to a square of this many pixels a side. 300 and 512 are usual.",
    )
    label_width: int = row(
        Whole(1),
        350,
        "Kept for jobs of the service, which needs 2 + 5 numbers for each object of the fullest "
        "image. Here the data is counted; a value too small for it is a warning.",
    )
    learning_rate: float = row(
        Real(0, 1, low_in=False, high_in=True),
        None,
        "The learning rate after the warm-up. When not given: 0.001, with recipe modern for a "
        "batch of 32 and scaled to mini_batch_size (in proportion for sgd, by the square root for "
        "the others). Where several machines share their gradients it is scaled by their number.",
    )
    lr_scheduler_step: tuple[int, ...] = row(
        Epochs(),
        (),
        "After each of these epochs the learning rate is multiplied by lr_scheduler_factor. "
        "Empty: it stays constant.",
    )
    lr_scheduler_factor: float = row(
        Real(0, 1, low_in=False, high_in=False),
        0.1,
        "What the learning rate is multiplied by at each of lr_scheduler_step.",
    )
    lr_schedule: str = row(
        Choice(("auto", "step", "cosine")),
        "auto",
        "How the learning rate falls: step as lr_scheduler_step says (without it: not at all), "
        "cosine over all epochs. auto is step where lr_scheduler_step is given or the recipe is "
        "service, else cosine.",
        service=False,
    )
    warmup_steps: int | None = row(
        Whole(0),
        None,
        "The learning rate rises over this many batches at the start: linearly, or slowly at first "
        "where training goes on from a model channel. When not given: with recipe modern a "
        "fifteenth of all batches, at most 1000, and three epochs after a model channel; with "
        "recipe service none.",
        service=False,
    )
    optimizer: str = row(
        Choice(("sgd", "adam", "rmsprop", "adadelta")),
        None,
        "The optimizer of the weights. When not given: adam with recipe modern, sgd with service.",
    )
    momentum: float = row(
        Real(0, 1, low_in=True, high_in=True), 0.9, "Momentum of sgd; others ignore it."
    )
    weight_decay: float = row(
        Real(0, 1, low_in=True, high_in=False),
        0.0005,
        "Weight decay of sgd and rmsprop; others ignore it.",
    )
    ema_decay: float | None = row(
        Real(0, 1, low_in=True, high_in=False),
        None,
        "How much of the averaged weights stays at each batch; the average is what is validated "
        "and saved. 0: no average. When not given: with recipe modern an average over about one "
        "epoch, with service none.",
        service=False,
    )
    overlap_threshold: float = row(
        Real(0, 1, low_in=False, high_in=True),
        0.5,
        "In the evaluation a detection is right when it overlaps an object of its class by more "
        "than this (intersection over union).",
    )
    nms_threshold: float = row(
        Real(0, 1, low_in=False, high_in=True),
        0.45,
        "Of two detections of one class that overlap by more than this only the better is kept.",
    )
    nms_topk: int = row(
        Whole(1),
        400,
        "Only so many of the best candidates of an image enter the suppression of overlaps. "
        "The service has it too, but does not document it.",
    )
    freeze_layer_pattern: str = row(
        Pattern(),
        "",
        "Layers whose name matches from its start are not trained, like ^(conv1_|conv2_).*",
    )
    early_stopping: bool = row(
        Flag(), False, "Whether training may end before the last epoch, as the next three say."
    )
    early_stopping_min_epochs: int = row(Whole(1), 10, "Never stop before so many epochs.")
    early_stopping_patience: int = row(
        Whole(1), 5, "Stop after so many epochs in a row without a better validation mAP."
    )
    early_stopping_tolerance: float = row(
        Real(0, 1, low_in=True, high_in=True),
        0.0,
        "A validation mAP is better when it exceeds the best by more than this share of it.",
    )
    kv_store: str = row(
        Choice(("device", "dist_sync", "dist_async")),
        "device",
        "Accepted as the service has it. Several machines share every update, whatever it says; "
        "dist_async runs in step too, with a warning.",
    )
    distribution: str = row(
        Choice(("auto", "kvstore", "horovod")),
        "auto",
        "How gradients of several GPUs and machines come together: by MXNet's kvstore, with "
        "parameter servers between machines, or by Horovod, with one process for each GPU. auto is "
        "kvstore.",
        service=False,
    )
    gradient_compression: str = row(
        Choice(("none", "float16")),
        "none",
        "With distribution horovod: the format in which gradients travel. float16 halves the "
        "traffic and rounds.",
        service=False,
    )
    precision: str = row(
        Choice(("auto", "float32", "bfloat16", "float16")),
        "auto",
        "The number format that training computes in.",
        service=False,
    )
    seed: int = row(
        Whole(0, _LARGEST_SEED),
        0,
        "All that is random (first weights, order, augmentation) follows from it.",
        service=False,
    )
    validation_share: float = row(
        Real(0, 1, low_in=True, high_in=False),
        0.0,
        "Share of the training channel's images that validates, where there is no channel "
        "validation; copies of an image stay together, and seed chooses.",
        service=False,
    )
    max_dropped_images: float = row(
        Real(0, 1, low_in=True, high_in=True),
        0.1,
        "Share of a channel's images that may be left out as unusable; with more the job ends "
        "before training.",
        service=False,
    )
    max_dropped_boxes: float = row(
        Real(0, 1, low_in=True, high_in=True),
        0.1,
        "Share of a channel's boxes that may be left out as unusable.",
        service=False,
    )
    shuffle_buffer_mib: int = row(
        Whole(1, 2**20),
        256,
        "Pipe mode: MiB of records held to be shuffled.",
        service=False,
    )
    quantize: str = row(
        AutoFlag(),
        "auto",
        "Whether an INT8 twin of the model is made for CPU endpoints. It is kept only if it scores "
        "nearly as well. auto and 1 make it; 1 warns where it cannot be made.",
        service=False,
    )
    tensorboard: bool = row(
        Flag("1", "0"),
        False,
        "Whether TensorBoard's event files are written, to output/data/tensorboard.",
        service=False,
    )
    augmentation: tuple[str, ...] = row(
        Subset(AUGMENTATIONS),
        AUGMENTATIONS,
        "What is done to training images at random: colour changes brightness, contrast, "
        "saturation and hue; expand puts the image into a larger canvas; crop cuts a part out that "
        "overlaps a box; flip mirrors it left to right.",
        service=False,
    )

    def as_strings(self) -> dict[str, str]:
        """Every value by name, as text; parse reads it as equal hyperparameters."""
        values = {setting: getattr(self, setting.name) for setting in SETTINGS}
        return {s.name: "" if v is None else s.kind.write(v) for s, v in values.items()}


SETTINGS: tuple[Setting, ...] = settings_of(Hyperparameters)


def is_ignored(name: str) -> bool:
    """Whether a name is not the algorithm's but the platform's (_) or the SDK's (sagemaker_)."""
    return name.startswith(("_", "sagemaker_"))


def parse(raw: Mapping[str, object]) -> Hyperparameters:
    """Read hyperparameters.json's content.

    Values are texts, or the numbers and booleans of a hand-written file. An empty one counts as
    not given. Names of which is_ignored says so are skipped.
    Raises ClientError with all faults: unknown names, bad values, missing ones.
    """
    by_name = {setting.name: setting for setting in SETTINGS}
    faults = [_unknown(name) for name in raw if name not in by_name and not is_ignored(name)]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given = raw.get(setting.name)
        try:
            text = _text(given)
            if text:
                values[setting.name] = setting.kind.parse(text)
            elif setting.required:
                faults.append(
                    f"Missing required hyperparameter: {setting.name}. It must be "
                    f"{setting.kind.description}: {_lower_first(setting.text)}"
                )
        except ValueError as error:
            faults.append(
                f"Hyperparameter {setting.name}: {_short(given)} {error}. It must be "
                f"{setting.kind.description}{_default(setting)}."
            )
    if values.get("lr_schedule") == "cosine" and values.get("lr_scheduler_step"):
        faults.append(
            "Hyperparameters lr_schedule and lr_scheduler_step contradict each other: cosine has "
            "no steps. Leave one of them out."
        )
    names, count = values.get("class_names"), values.get("num_classes")
    if names and count is not None and len(names) != count:
        faults.append(
            f"Hyperparameters class_names and num_classes contradict each other: {len(names)} "
            f"names ({', '.join(names)}), and num_classes is {count}. Correct one of them."
        )
    if faults:
        raise ClientError(*faults)
    given = {s.name: values.get(s.name, None if s.required else s.default) for s in SETTINGS}
    return Hyperparameters(**complete(given))


def _text(value: object) -> str:
    """Any JSON value as the text that a kind reads; a list as [1,2], or as JSON if there are commas
    in it.
    """
    if value is None:
        return ""
    if isinstance(value, list):
        items = [_text(item) for item in value]
        return json.dumps(items) if any("," in item for item in items) else f"[{','.join(items)}]"
    if not isinstance(value, str | int | float):
        raise ValueError("is a JSON object")
    return unquoted(str(value).strip())


def _short(value: object) -> str:
    """The value as it was given, cut in the middle when it is long."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 80
    return shortener.repr(value)


def _unknown(name: str) -> str:
    names = [setting.name for setting in SETTINGS]
    near = get_close_matches(name.strip().lower().replace("-", "_"), names, n=1)
    cure = f"Did you mean {near[0]}?" if near else "Remove it."
    return f"Unknown hyperparameter: {name}. {cure}"


def _default(setting: Setting) -> str:
    return f" (default: {setting.default_text})" if setting.default_text else ""


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


def document() -> str:
    """The table as Markdown, the content of docs/hyperparameters.md."""
    lines = [
        "# Hyperparameters",
        "",
        "Values are texts, as SageMaker hands them over; `True` and `true`, `16` and `16.0`, "
        "`0.001` and `1e-3` are read alike.",
        "Unknown names, bad values and missing ones end the job before it touches any data, all "
        "in one message. Names that begin with `_` or `sagemaker_` are ignored.",
        "What SageMaker's own algorithm does not have is marked *ours*.",
        "",
        "This file is made by `python -m sagemaker_object_detection.platform.hyperparameters`.",
        "",
        "| name | value | default | meaning |",
        "|---|---|---|---|",
    ]
    for s in SETTINGS:
        mark = "" if s.service else " *(ours)*"
        extra = f" *(ours: {', '.join(s.extra)})*" if s.extra else ""
        default = "*required*" if s.required else f"`{s.default_text}`" if s.default_text else ""
        cells = (f"`{s.name}`{mark}", f"{s.kind.description}{extra}", default, s.text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
