"""Read augmented manifests: a JSON object a line, with the image's URI and its boxes."""

from pathlib import Path

from sagemaker_object_detection.data.manifest import ManifestSource
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.tools.formats.from_source import SourceSplit, class_file, no_split


def read(source: Path, split: str, attribute_names: tuple[str, ...] = ()) -> SourceSplit:
    """``<split>.manifest`` or ``<split>.jsonl``, with its images anywhere in `source`; or the one
    in ``<split>/``, with its images there.

    `attribute_names` are those of the image and of the annotation, where the lines have several.
    Raises ClientError when there is none or several, and as ManifestSource.
    """
    folder = source
    candidates = (source / f"{split}{suffix}" for suffix in sorted(files.MANIFEST_SUFFIXES))
    path = next((path for path in candidates if path.is_file()), None)
    if path is None and (source / split).is_dir():
        folder = source / split
        path = files.manifest_file(folder)
    if path is None:
        found = sorted(
            path.relative_to(source).parts[0].removesuffix(path.suffix)
            for path in files.walk(source)
            if path.suffix in files.MANIFEST_SUFFIXES
        )
        wanted = f"there is no {source / split}.manifest or .jsonl, and none in {source / split}/"
        raise no_split(source, split, wanted, found)
    manifest = ManifestSource(folder, path, attribute_names)
    inside = (source / split, source / "images" / split, source / "images")
    top = next((place for place in inside if _holds_all(place, manifest)), folder)
    return SourceSplit(
        manifest,
        lambda index: manifest.path(index).relative_to(top).as_posix(),
        class_file(source, split),
    )


def _holds_all(folder: Path, manifest: ManifestSource) -> bool:
    """Whether all images lie in a folder, so that it need not be part of their names."""
    return all(manifest.path(index).is_relative_to(folder) for index in range(len(manifest)))
