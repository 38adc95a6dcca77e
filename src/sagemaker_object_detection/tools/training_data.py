"""Labeled data of any format as the channels of a training job: found, checked and linked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.foreign import recognized
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.tools.conversion import convert
from sagemaker_object_detection.tools.findings import (
    Findings,
    Settings,
    ValidationShare,
    examine,
    with_validation,
)
from sagemaker_object_detection.tools.folders import NOTES

_JSON_TRIED = 20
_SHOWN_NAMES = 20
_YEAR = re.compile(r"(.*)\d{4}")
_BY_SUFFIX = {
    ".yaml": "yolo",
    ".yml": "yolo",
    ".json": "coco",
    ".rec": "recordio",
    **dict.fromkeys(files.MANIFEST_SUFFIXES, "manifest"),
}


@dataclass(frozen=True)
class DataSet:
    """Where labeled images are.

    Attributes:
        form: a key of SPLITS.
        folder: of the data set.
        splits: their names; none where it is not split.
        alone: whether nothing else there looks like labels, so that training sees it as it is.
    """

    form: str
    folder: Path
    splits: tuple[str, ...]
    alone: bool = True

    def split(self, *names: str) -> str | None:
        """What the split of one of these names is called here, `train2017` for `train`.

        Raises ClientError where several could be meant.
        """
        for name in names:
            if name in self.splits:
                return name
            found = (_YEAR.fullmatch(split) for split in self.splits)
            years = [match[0] for match in found if match and match[1] == name]
            if len(years) > 1:
                raise ClientError(
                    f"{self.folder} has the splits {', '.join(years)}. Keep the one to use."
                )
            if years:
                return years[0]
        return None


@dataclass(frozen=True)
class Split:
    """The part of a data set that becomes a channel; all of it where `name` is None."""

    data: DataSet
    name: str | None = None

    def open(self, attribute_names: tuple[str, ...]) -> Source:
        """Raises ClientError as open_split."""
        return open_split(self.data.form, self.data.folder, self.name or "train", attribute_names)

    def links(self, channel: str) -> Mapping[str, Path] | None:
        """Path below input/data -> what it links to, for training to read the split in place.

        None where training, which knows a split by the name of its channel, would not find it.
        """
        form, folder = self.data.form, self.data.folder
        if form in ("coco", "manifest"):
            images, file = annotated_by(form, folder, self.name)
            return {channel: images, f"{channel}{NOTES}/{file.name}": file}
        if form == "sagemaker-json":
            notes = folder / f"{self.name}{NOTES}"
            return {channel: folder / f"{self.name}", f"{channel}{NOTES}": notes}
        if form == "recordio":
            single = folder / f"{self.name}{files.RECORDIO_SUFFIX}"
            if single.is_file():
                beside = (single.with_suffix(suffix) for suffix in (".rec", ".idx", ".lst"))
                return {f"{channel}/{path.name}": path for path in beside if path.is_file()}
            return {channel: folder / (self.name or "")}
        usual = files.split_names(channel)
        found = self.name is None or self.name == next(
            (name for name in usual if name in self.data.splits), None
        )
        return {channel: folder} if found and self.data.alone else None


def find_data(path: Path, form: str | None = None) -> DataSet:
    """The data set in a folder, or the one that a file of it stands for.

    A data.yaml stands for its folder; any other file for the split that it is.

    Args:
        form: a key of SPLITS; None recognizes it.

    Raises:
        ClientError: nothing that can be read is there, or labels of several formats.
    """
    path = path.absolute()
    if path.is_file():
        return _from_file(path, form)
    notes = path.with_name(path.name + NOTES)
    found = [form] if form else _formats(path)
    if notes.is_dir() and (form or not found):
        beside = [form] if form else _formats(notes) or ["sagemaker-json"]
        return DataSet(beside[0], path.parent, (path.name,))
    if not found:
        raise ClientError(
            recognized(path)
            or f"{path} holds no labeled images in a format that is read here. docs/data.md shows "
            "the layouts of Pascal VOC, YOLO, COCO, manifests, image + JSON and RecordIO."
        )
    if len(found) > 1:
        raise ClientError(
            f"{path} holds labels in several formats: {', '.join(found)}. Choose one with --format."
        )
    alone = form is None or _formats(path) == [form]
    return DataSet(found[0], path, tuple(SPLITS[found[0]](path)), alone)


def _from_file(path: Path, form: str | None) -> DataSet:
    form = form or _BY_SUFFIX.get(path.suffix.lower())
    if form is None or form in ("voc", "sagemaker-json"):
        raise ClientError(
            f"{path} stands for no data set. Give its folder, or a data.yaml, a COCO file, a "
            "manifest or a .rec file."
        )
    folder, name = path.parent, path.stem
    if form == "yolo":
        config = find_config(folder)
        if config is None or config.file != path:
            raise ClientError(
                f"{folder} holds several YAML files. Rename {path.name} to data.yaml."
            )
        return DataSet(form, folder, tuple(SPLITS[form](folder)), _formats(folder) == [form])
    if form == "coco" and folder.name == "annotations":
        folder, name = folder.parent, name.rpartition("_")[2]
    splits = SPLITS[form](folder)
    return DataSet(form, folder, (name,) if name in splits else ())


def _formats(folder: Path) -> list[str]:
    """The formats, keys of SPLITS, that labels in a folder have."""
    suffixes = {path.suffix.lower() for path in files.walk(folder)}
    found = []
    if suffixes & files.MANIFEST_SUFFIXES:
        found.append("manifest")
    texts = (path for path in files.walk(folder) if path.suffix.lower() == ".json")
    if any(files.is_coco(path) for path in islice(texts, _JSON_TRIED)):
        found.append("coco")
    elif ".json" in suffixes and SPLITS["sagemaker-json"](folder):
        found.append("sagemaker-json")
    if files.has_voc(folder):
        found.append("voc")
    if files.has_yolo(folder):
        found.append("yolo")
    return found or (["recordio"] if files.RECORDIO_SUFFIX in suffixes else [])


def choose_splits(
    data: DataSet, validation: DataSet | None, share: float
) -> tuple[dict[str, Split], list[str]]:
    """The splits that become the channels, and remarks on the choice.

    Args:
        validation: a data set of its own for the channel validation.
        share: of train that validates, in 0..1; 0 for none.

    Raises:
        ClientError: there is no train, no validation, or more than one.
    """
    remarks = []
    train, own = data.split("train"), data.split(*files.split_names("validation"))
    if train is None and len(data.splits) == 1:
        train, own = data.splits[0], None
    if data.splits and train is None:
        raise ClientError(
            f"{data.folder} has the splits {', '.join(data.splits)}, and none is called train. "
            "Rename the one to train on, or give its own folder or file."
        )
    splits = {"train": Split(data, train)}
    if validation is not None:
        name = validation.split(*files.split_names("validation"))
        if name is None and len(validation.splits) > 1:
            raise ClientError(
                f"{validation.folder} has the splits {', '.join(validation.splits)}, and none is "
                "called validation, val or valid. Give the folder or the file of one split."
            )
        splits["validation"] = Split(validation, name or next(iter(validation.splits), None))
    elif own is not None and share:
        raise ClientError(
            f"{data.folder} has a split '{own}', and --validation-share takes a part of train. "
            "Leave --validation-share out, or give the folder of train alone."
        )
    elif own is not None:
        splits["validation"] = Split(data, own)
    elif not share:
        raise ClientError(
            f"{data.folder} has no split for validation. Give its folder as --validation, or "
            "--validation-share 0.2, which takes a fifth of the images."
        )
    used = {split.name for split in splits.values() if split.data == data}
    unused = [name for name in data.splits if name not in used]
    if unused:
        remarks.append(f"Splits that are not used: {', '.join(unused)}.")
    return splits, remarks


@dataclass(frozen=True)
class CheckedData:
    """Channels that passed the data checks.

    Attributes:
        findings: of the channels as training will split them.
        remarks: on how the data was read.
    """

    splits: Mapping[str, Split]
    findings: Findings
    attribute_names: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)

    @property
    def num_training_samples(self) -> int:
        """Usable images of train."""
        return self.findings.tallies["train"].images

    def summary(self) -> list[str]:
        """What was found, for a reader."""
        names, channels = self.findings.class_names, self.findings.tallies.items()
        counts = [f"{name} {tally.images} images" for name, tally in channels]
        shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
        return [f"{', '.join(counts)}; {len(names)} classes: {shown}."]


def check_data(
    splits: Mapping[str, Split], given: Hyperparameters, attribute_names: tuple[str, ...] = ()
) -> CheckedData:
    """Check all images and labels as training will.

    Args:
        given: whose class names, network, limits and validation share count.

    Raises:
        ClientError: what training would refuse, all faults together.
    """
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for channel, split in splits.items():
        try:
            sources[channel] = split.open(attribute_names)
        except ClientError as error:
            faults.extend(error.faults)
    if faults:
        raise ClientError(*faults)
    merge_classes(list(sources.values()), given.class_names)
    if given.validation_share:
        share = ValidationShare(given.validation_share, given.seed)
        sources = with_validation(sources, share)
    findings = examine(sources, list(_places(splits)), settings_of(given))
    if findings.refused:
        raise ClientError(*findings.refused)
    if not findings.tallies["train"].boxes_kept:
        folder = splits["train"].data.folder
        raise ClientError(
            f"{folder}: no image has an object: there is nothing to learn. Check that the labels "
            "are the right ones."
        )
    remarks = [remark for source in sources.values() for remark in source.remarks]
    return CheckedData(splits, findings, attribute_names, list(dict.fromkeys(remarks)))


def settings_of(given: Hyperparameters, num_classes: int | None = None) -> Settings:
    """What hyperparameters say about the data checks; `num_classes` None counts the classes."""
    limits = Limits(given.max_dropped_images, given.max_dropped_boxes)
    return Settings(num_classes, given.class_names, given.base_network, given.image_shape, limits)


def _places(splits: Mapping[str, Split]) -> Iterator[Path]:
    """Where a classes.txt may be."""
    for split in splits.values():
        if split.name is not None and (inside := split.data.folder / split.name).is_dir():
            yield inside
        yield split.data.folder


def link_channels(checked: CheckedData, folder: Path) -> dict[str, Any]:
    """Make the channels in `folder`, an empty input/data; return inputdataconfig.json's content.

    The data stays where it is, behind symlinks. A split that training would not find by the name
    of its channel is converted to RecordIO.
    """
    config: dict[str, Any] = {}
    for channel, split in checked.splits.items():
        links = split.links(channel)
        if links is None:
            settings = Settings(class_names=checked.findings.class_names, turn_boxes=False)
            name = split.name or "train"
            convert(
                split.data.folder,
                folder,
                [(name, channel)],
                reader=split.data.form,
                settings=settings,
            )
            (folder / CLASSES_FILE).unlink()
            links = {channel: folder}
        else:
            for place, target in links.items():
                link = folder / place
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
        for name in dict.fromkeys(place.partition("/")[0] for place in links):
            config[name] = {"TrainingInputMode": "File"}
        if checked.attribute_names and split.data.form == "manifest":
            config[channel]["AttributeNames"] = list(checked.attribute_names)
    return config
