"""Read augmented manifests: a JSON object a line, with the image's URI and its boxes."""

from pathlib import Path

from sagemaker_object_detection.data.manifest import ManifestSource
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.tools.formats.from_source import SourceSplit, class_file, no_split


def read(source: Path, split: str, attribute_names: tuple[str, ...] = ()) -> SourceSplit:
    """``<split>.manifest`` or ``<split>.jsonl``, or the manifest in ``<split>/``.

    Its images are in ``<split>/``, ``images/<split>/``, ``images/`` or anywhere in `source`: the
    first of these folders that exists counts. `attribute_names` are those of the image and of the
    annotation, where the lines have several. Raises ClientError when there is no manifest or
    several, and as ManifestSource.
    """
    candidates = (source / f"{split}{suffix}" for suffix in sorted(files.MANIFEST_SUFFIXES))
    path = next((path for path in candidates if path.is_file()), None)
    if path is None and (source / split).is_dir():
        path = files.manifest_file(source / split)
    if path is None:
        found = sorted(
            path.relative_to(source).parts[0].removesuffix(path.suffix)
            for path in files.walk(source)
            if path.suffix in files.MANIFEST_SUFFIXES
        )
        wanted = f"there is no {source / split}.manifest or .jsonl, and none in {source / split}/"
        raise no_split(source, split, wanted, found)
    folders = (source / split, source / "images" / split, source / "images")
    folder = next((folder for folder in folders if folder.is_dir()), source)
    manifest = ManifestSource(folder, path, attribute_names)
    return SourceSplit(
        manifest,
        lambda index: manifest.path(index).relative_to(folder).as_posix(),
        class_file(source, split),
    )
