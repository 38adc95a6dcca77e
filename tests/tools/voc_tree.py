"""Small Pascal VOC folders for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

Object = tuple[str, tuple[float, float, float, float], bool]
"""Class name, corners as VOC counts them (from 1), difficult."""


def jpeg(width: int = 100, height: int = 80, seed: int = 0) -> bytes:
    """A small picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def annotation(objects: Sequence[Object], width: object = 100, height: object = 80) -> str:
    """The XML of one image."""
    nodes = "".join(
        f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>"
        f"<ymin>{box[1]}</ymin><xmin>{box[0]}</xmin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>"
        "</bndbox></object>"
        for name, box, difficult in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>x</filename>{size}{nodes}</annotation>"


def write_voc(folder: Path, splits: Mapping[str, Mapping[str, Sequence[Object]]]) -> Path:
    """A VOC folder with ``splits``: split -> image identifier -> objects."""
    for number, (split, images) in enumerate(splits.items()):
        list_file = folder / "ImageSets" / "Main" / f"{split}.txt"
        list_file.parent.mkdir(parents=True, exist_ok=True)
        list_file.write_text("".join(f"{identifier}\n" for identifier in images))
        for identifier, objects in images.items():
            xml = folder / "Annotations" / f"{identifier}.xml"
            picture = folder / "JPEGImages" / f"{identifier}.jpg"
            for path in (xml, picture):
                path.parent.mkdir(parents=True, exist_ok=True)
            xml.write_text(annotation(objects))
            picture.write_bytes(jpeg(seed=number))
    return folder
