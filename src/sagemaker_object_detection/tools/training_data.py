"""Labeled data of any format as the channels of a training job: found, checked and linked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.sources import merge_classes
from sagemaker_object_detection.data.sources.splits import SPLITS, annotated_by, open_split
from sagemaker_object_detection.data.sources.yolo_yaml import find_config
from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.channels import REQUIRED
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.foreign import recognized
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.tools import findings
from sagemaker_object_detection.tools.conversion import convert
from sagemaker_object_detection.tools.findings import NOTES, Findings, Settings, ValidationShare

_JSON_TRIED = 20
_MANIFESTS = dict.fromkeys(files.MANIFEST_SUFFIXES, "manifest")
_FILES = {".yaml": "yolo", ".yml": "yolo", ".json": "coco", ".rec": "recordio", **_MANIFESTS}


@dataclass(frozen=True)
class DataSet:
    """Labeled images in a folder.

    Attributes:
        form: a key of SPLITS.
        splits: their names; none where it is not split.
        alone: whether nothing else in the folder looks like labels.
    """

    form: str
    folder: Path
    splits: tuple[str, ...]
    alone: bool = True

    def split(self, channel: str) -> str | None:
        """What the split for a channel is called, perhaps with a year, as `train2017`.

        Raises ClientError where several could be meant.
        """
        names = files.split_names(channel)
        found = [s for n in names for s in self.splits if re.fullmatch(rf"{n}(\d{{4}})?", s)]
        if len(found) > 1 and found[0] not in names:
            raise ClientError(f"{self.folder} has the splits {', '.join(found)}. Keep one of them.")
        return found[0] if found else None


@dataclass(frozen=True)
class Split:
    """The part of a data set that becomes a channel; all of it where `name` is None."""

    data: DataSet
    name: str | None

    def open(self, attribute_names: tuple[str, ...] = ()) -> Source:
        """Raises ClientError as open_split."""
        return open_split(self.data.form, self.data.folder, self.name, attribute_names)

    def is_there(self) -> bool:
        """False for a split that data.yaml lists and that was not exported, for example."""
        try:
            return len(self.open()) > 0
        except ClientError:
            return False

    def links(self, channel: str) -> Mapping[str, Path]:
        """Path below input/data -> what it has to link to, so that training reads it in place.

        Empty where training, which knows splits by the names of channels, would not find it.
        """
        form, folder, name = self.data.form, self.data.folder, self.name
        if form in ("coco", "manifest"):
            images, file = annotated_by(form, folder, name)
            return {channel: images, f"{channel}{NOTES}/{file.name}": file}
        if form == "sagemaker-json":
            return {f"{channel}{end}": folder / f"{name}{end}" for end in ("", NOTES)}
        if form == "recordio":
            beside = [folder / f"{name}{suffix}" for suffix in (".rec", ".idx", ".lst")]
            if beside[0].is_file():
                return {f"{channel}/{path.name}": path for path in beside if path.is_file()}
            return {channel: folder / (name or "")}
        usual = next((n for n in files.split_names(channel) if n in self.data.splits), None)
        return {channel: folder} if self.data.alone and name in (None, usual) else {}


def find_data(path: Path, form: str | None = None) -> DataSet:
    """The data set in a folder, or the one that a file stands for; `form` None recognizes it.

    Raises ClientError where there is nothing that can be read, or labels of several formats.
    """
    path = path.absolute()
    if path.is_file():
        return _of_file(path)
    there, notes = _formats(path), path.with_name(path.name + NOTES)
    beside = notes.is_dir() and not there
    found = [form] if form else _formats(notes) or ["sagemaker-json"] if beside else there
    other = recognized(notes if beside else path) if found in ([], ["sagemaker-json"]) else None
    if other is not None or not found:
        raise ClientError(
            other
            or f"{path} holds no labeled images in a format that is read here. docs/data.md shows "
            "the layouts of Pascal VOC, YOLO, COCO, manifests, image + JSON and RecordIO."
        )
    if beside:
        return DataSet(found[0], path.parent, (path.name,))
    if len(found) > 1:
        raise ClientError(
            f"{path} holds labels in several formats: {', '.join(found)}. Choose one with --format."
        )
    splits = SPLITS[found[0]](path)
    if len(splits) == 1 and found[0] in ("coco", "manifest", "recordio"):
        splits = []  # one file for all, wherever the images are
    return DataSet(found[0], path, tuple(splits), there == found)


def _of_file(path: Path) -> DataSet:
    """A data.yaml stands for its folder, any other file for the split that it is."""
    form, folder, name = _FILES.get(path.suffix.lower()), path.parent, path.stem
    if form is None:
        raise ClientError(
            f"{path} stands for no data set. Give its folder, or a data.yaml, a COCO file, a "
            "manifest or a .rec file."
        )
    if form == "yolo":
        config = find_config(folder)
        if config is None or config.file != path:
            raise ClientError(
                f"{folder} holds several YAML files. Rename {path.name} to data.yaml."
            )
        return DataSet(form, folder, tuple(SPLITS[form](folder)), _formats(folder) == [form])
    if form == "coco" and folder.name == "annotations":
        folder, name = folder.parent, name.rpartition("_")[2]
    return DataSet(form, folder, (name,) if name in SPLITS[form](folder) else ())


def _formats(folder: Path) -> list[str]:
    """The formats, keys of SPLITS, of the labels in a folder."""
    suffixes = {path.suffix.lower() for path in files.walk(folder)}
    found = ["manifest"] if suffixes & files.MANIFEST_SUFFIXES else []
    texts = (path for path in files.walk(folder) if path.suffix.lower() == ".json")
    if any(files.is_coco(path) for path in islice(texts, _JSON_TRIED)):
        found.append("coco")
    elif ".json" in suffixes and SPLITS["sagemaker-json"](folder):
        found.append("sagemaker-json")
    found += ["voc"] if files.has_voc(folder) else []
    found += ["yolo"] if files.has_yolo(folder) else []
    return found or (["recordio"] if files.RECORDIO_SUFFIX in suffixes else [])


def choose_splits(data: DataSet, other: DataSet | None, share: float) -> dict[str, Split]:
    """The channels train and, unless a share of train validates, validation.

    Args:
        other: data of its own for validation.
        share: of train, in 0..1; 0 for none.

    Raises:
        ClientError: there is no train, no validation, or more than one.
    """
    train = Split(data, _split(data, "train"))
    name = data.split("validation") if data.split("train") else None
    own = Split(data, name) if name else None
    if own is not None and share and not own.is_there():
        own = None
    if other is not None:
        own = Split(other, _split(other, "validation"))
    if own is None and not share:
        raise ClientError(
            f"{data.folder} has no split for validation. Give its folder as --validation, or "
            "--validation-share 0.2, which takes a fifth of the images."
        )
    if own is not None and share:
        raise ClientError(
            f"{own.data.folder} has data for validation ({own.name or 'all of it'}), and "
            "--validation-share takes a part of train. Leave one of the two out."
        )
    return {"train": train} if own is None else {"train": train, "validation": own}


def _split(data: DataSet, channel: str) -> str | None:
    """The split for a channel, the only one, or None where there are none."""
    name = data.split(channel)
    if name is None and len(data.splits) > 1:
        raise ClientError(
            f"{data.folder} has the splits {', '.join(data.splits)}, and none is called {channel}. "
            "Rename the one to use, or give its own folder or file."
        )
    return name or next(iter(data.splits), None)


def check_splits(
    splits: Mapping[str, Split], given: Hyperparameters, attribute_names: tuple[str, ...]
) -> tuple[Findings, list[str]]:
    """Check all images and labels as training will: what was found, and lines about it.

    Raises ClientError for what training would refuse, and for a train channel without objects.
    """
    sources: dict[str, Source] = {}
    for channel, split in splits.items():
        try:
            sources[channel] = split.open(attribute_names)
        except ClientError as error:
            if channel == "train":
                raise
            *faults, last = error.faults
            hint = "Or give other data as --validation, or --validation-share 0.2."
            raise ClientError(*faults, f"{last} {hint}") from None
    merge_classes(list(sources.values()), given.class_names)
    found = examine(sources, [split.data.folder for split in splits.values()], given)
    if not found.tallies["train"].boxes_kept:
        raise ClientError(
            f"{splits['train'].data.folder}: no image of train has an object: there is nothing to "
            "learn. Check that the labels are the right ones."
        )
    lines = dict.fromkeys(remark for source in sources.values() for remark in source.remarks)
    counts = [f"{name}: {tally.images} images." for name, tally in found.tallies.items()]
    names = ", ".join(found.class_names)
    return found, [*lines, *counts, f"{len(found.class_names)} classes: {names}."]


def examine(
    sources: dict[str, Source],
    folders: list[Path],
    given: Hyperparameters,
    num_classes: int | None = None,
) -> Findings:
    """What the data checks find in the channels of a job; `num_classes` None counts the classes.

    Raises ClientError for what training would refuse.
    """
    if given.validation_share:
        share = ValidationShare(given.validation_share, given.seed)
        sources = findings.with_validation(sources, share)
        for channel in REQUIRED:
            if not len(sources[channel]):
                raise ClientError(
                    f"validation_share {share.share:g} leaves no image for {channel}. Add images."
                )
    limits = Limits(given.max_dropped_images, given.max_dropped_boxes)
    network = given.base_network, given.image_shape
    found = findings.examine(
        sources, folders, Settings(num_classes, given.class_names, *network, limits)
    )
    if found.refused:
        raise ClientError(*found.refused)
    return found


def link_channels(
    splits: Mapping[str, Split],
    class_names: tuple[str, ...],
    attribute_names: tuple[str, ...],
    folder: Path,
) -> dict[str, Any]:
    """Make the channels in `folder`, an empty input/data; return inputdataconfig.json's content.

    The data stays where it is, behind symlinks; a split that training would not find there is
    converted to RecordIO.
    """
    config: dict[str, Any] = {}
    for channel, split in splits.items():
        links, data = split.links(channel), split.data
        for place, target in links.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).symlink_to(target)
        if not links:
            parts = [(split.name or "train", channel)]
            settings = Settings(class_names=class_names)
            convert(data.folder, folder, parts, reader=data.form, settings=settings)
            (folder / CLASSES_FILE).unlink()
        for place in links or [channel]:
            config[place.partition("/")[0]] = {"TrainingInputMode": "File"}
        if attribute_names and data.form == "manifest":
            config[channel]["AttributeNames"] = list(attribute_names)
    return config
