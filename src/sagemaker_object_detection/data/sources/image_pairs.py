"""Single images with one annotation file each, paired by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sagemaker_object_detection.data.annotations import AnnotationError, load, parse, shown
from sagemaker_object_detection.data.class_names import AnnotatedNames, FoundNames
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.labels import from_annotation
from sagemaker_object_detection.data.listing import Listing, base, composed, grouped, stem
from sagemaker_object_detection.data.refusal import Offenders
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_SHOWN_CANDIDATES = 4


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images and their annotations, in the order of the images' names.

    ``image_names[i]``, relative to the folder `images`, is annotated by ``note_names[i]``, relative
    to the folder `notes`; nothing annotates the images called `lonely`.
    """

    images: Path
    notes: Path
    image_names: Sequence[str]
    note_names: Sequence[str]
    lonely: Sequence[str]

    def __len__(self) -> int:
        return len(self.image_names)

    def image(self, index: int) -> str:
        """Where an image is."""
        return f"{self.images}/{self.image_names[index]}"

    def note(self, index: int) -> str:
        """Where its annotation is."""
        return f"{self.notes}/{self.note_names[index]}"


class ImageSource(Source):
    """The records of pairs (see `json_pairs`)."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._found = FoundNames()

    @property
    def found_names(self) -> AnnotatedNames:
        """The categories of the annotations read so far."""
        return self._found.so_far()

    @property
    def unannotated(self) -> Sequence[str]:
        """The images' files that no annotation file belongs to."""
        return tuple(str(self._pairs.images / name) for name in self._pairs.lonely)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """The image's file."""
        return self._pairs.image(index)

    def image_name(self, index: int) -> str:
        """Relative to the folder of the images."""
        return self._pairs.image_names[index]

    def read(self, index: int) -> RawRecord:
        """Image and annotation, corners in pixels of the declared size."""
        note = self._pairs.note(index)
        annotation = parse(files.content(note), note)
        self._found.add(annotation.categories, annotation.class_ids.tolist(), index, note)
        return from_annotation(self.read_image(index), annotation, note)

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return files.content(self._pairs.image(index))


def json_pairs(images: Path, notes: Path) -> Pairs:
    """The images of a folder and their JSON files in another, as `pair_files` finds them."""
    pictures = Listing.of(images, files.IMAGE_SUFFIXES)
    if not len(pictures):
        named = (path.relative_to(images).as_posix() for path in files.of_form(images, "image"))
        pictures = Listing(images, named)
    return pair_files(pictures, Listing.of(notes, {".json"}), _said)


def pair_files(pictures: Listing, notes: Listing, said: Callable[[Path], str | None]) -> Pairs:
    """Find the annotation of every image, by its name without suffix.

    `a/b.jpg` is annotated by `a/b.json` (or .xml); or by a `b.json` of another folder, as long as
    no other image is called b. Where that leaves a doubt, what the annotation says of its file
    decides: when several images or none have its name, and when both lie in sub-folders that
    differ.

    Args:
        said: gives what an annotation says is its image's file, None where it says nothing.

    Raises:
        ClientError: two images would share an annotation, or an annotation has no image.
    """
    return _Pairing(pictures, notes, said).pairs()


class _Pairing:
    """The work of `pair_files`: first by path, then by base name, then by what files say."""

    def __init__(
        self, pictures: Listing, notes: Listing, said: Callable[[Path], str | None]
    ) -> None:
        self._pictures = pictures
        self._notes = notes
        self._said = said
        self._note_of = [-1] * len(pictures)
        self._by_path = grouped(pictures.names, stem)
        self._offenders = Offenders()

    @cached_property
    def _by_base(self) -> dict[str, list[int]]:
        return grouped(self._pictures.names, _base)

    def pairs(self) -> Pairs:
        images, notes = self._pictures.folder, self._notes.folder
        rest: list[int] = []
        for note, name in enumerate(self._notes.names):
            found = self._by_path.get(composed(stem(name)), [])
            if len(found) == 1:
                self._join(found[0], note)
            else:
                rest.append(note)
        for note in rest:
            self._settle(note)
        self._offenders.refuse(f"Annotations and images of {images.name} do not match")
        names, taken = self._pictures.names, self._note_of
        return Pairs(
            images,
            notes,
            [names[picture] for picture, note in enumerate(taken) if note >= 0],
            [self._notes.names[note] for note in taken if note >= 0],
            [names[picture] for picture, note in enumerate(taken) if note < 0],
        )

    def _join(self, picture: int, note: int) -> None:
        if self._note_of[picture] < 0:
            self._note_of[picture] = note
            return
        self._offenders.add(
            f"{self._notes.path(note)}: the image {self._pictures.path(picture)} has another "
            f"annotation file already ({self._notes.names[self._note_of[picture]]}). Keep one."
        )

    def _settle(self, note: int) -> None:
        """Join a note to the image of its base name, or to the one that it names itself."""
        name = self._notes.names[note]
        found = self._by_path.get(composed(stem(name)), [])
        found = found or self._by_base.get(composed(_base(name)), [])
        if len(found) == 1 and not self._elsewhere(name, found[0]):
            self._join(found[0], note)
            return
        try:
            path = self._notes.path(note)
            if not path.is_file():
                raise AnnotationError(f"{path} is a link to nothing. Fix or remove it.")
            said = self._said(path)
        except ClientError as error:
            self._offenders.add(str(error))
            return
        meant = [] if said is None else self._pictures.resolve(said)
        if len(meant) == 1 and _mirrors(name, said) and self._elsewhere(name, meant[0]):
            meant = []  # the image of the same folder is missing
        if not meant and len(found) == 1 and not _mirrors(name, said):
            meant = found
        if len(meant) == 1:
            self._join(meant[0], note)
        elif len(found) > 1:
            names = ", ".join(self._pictures.names[one] for one in found[:_SHOWN_CANDIDATES])
            self._offenders.add(
                f"{self._notes.path(note)}: several images have that name: {names}. Give them "
                "different names, or put the annotations into the same sub-folders as the images."
            )
        else:
            by_file = f', nor the "file" it names, {shown(said)}' if said else ""
            self._offenders.add(
                f"{self._notes.path(note)}: there is no image {_base(name)} "
                f"({', '.join(sorted(files.IMAGE_SUFFIXES))}) in {self._pictures.folder}{by_file}. "
                "Add the image or remove the annotation."
            )

    def _elsewhere(self, note: str, picture: int) -> bool:
        """Whether both lie in sub-folders, and not in the same one."""
        folders = _folder(note), _folder(self._pictures.names[picture])
        return all(folders) and folders[0] != folders[1]


def _said(path: Path) -> str | None:
    """What an annotation says as its file. Raises AnnotationError when it cannot be read."""
    content = load(files.content(str(path)), str(path))
    said = content.get("file") if isinstance(content, dict) else None
    return said if isinstance(said, str) and said else None


def _mirrors(note: str, said: str | None) -> bool:
    """Whether an annotation lies in the folder in which it says its image is."""
    return f"/{_folder(said or '')}".endswith(f"/{_folder(note)}")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    """The name without folders and suffix."""
    return base(stem(name))
