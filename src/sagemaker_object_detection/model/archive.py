"""The folder of a model, given as its files or as an archive: to a command, or in a channel.

SageMaker copies a former job's model.tar.gz into the channel as it is. It comes from outside: it
is unpacked so that nothing is written beside the folder meant for it.
"""

from __future__ import annotations

import errno
import logging
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sagemaker_object_detection.model.artifact import MODEL_FILE
from sagemaker_object_detection.platform.errors import ClientError, first_line

log = logging.getLogger(__name__)

ARCHIVE = "model.tar.gz"
ENDINGS = (".tar.gz", ".tgz", ".tar")
SYMBOL_ENDING = "-symbol.json"
MAX_BYTES = 8 * 2**30
MAX_MEMBERS = 10_000
_OF_NAMES = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
CURE = "Give the model.tar.gz of a job of this algorithm or of the service's, or its files."


@contextmanager
def opened_model(path: Path) -> Iterator[Path]:
    """The folder with the files of a model, ours or the service's own; it lasts for the block.

    Args:
        path: that folder, one around it, or an archive such as model.tar.gz.

    Raises:
        ClientError: there is no model or more than one, or the archive is damaged or unsafe.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        folder = path
        if not path.is_dir():
            folder = Path(scratch)
            extract(path, folder)
        if not (folder / MODEL_FILE).is_file():
            folder = _only(path, _holders(folder))
        yield folder


def find_model(folder: Path, scratch: Path) -> Path:
    """The folder with the files of the model in the channel.

    An archive is unpacked into a new folder below `scratch`, which stays. Extracted files may lie
    in the channel itself or in one sub-folder.

    Raises:
        ClientError: there is no model or more than one, or the archive is damaged or unsafe.
        OSError: the archive cannot be read, or there is no room to unpack it.
    """
    log.info("Start training from the model in the model channel.")
    archive = _archive(folder)
    holders = _holders(folder)
    if archive is None:
        return _only(folder, holders)
    if holders:
        raise ClientError(
            f"The channel 'model' ({folder}) holds an archive, {archive.name}, and the files of a "
            f"model in {holders[0]}: leave one of them."
        )
    log.info("Found a model archive file. Extracting %s", archive.name)
    unpacked = Path(tempfile.mkdtemp(prefix="model-", dir=scratch))
    extract(archive, unpacked)
    return _only(archive, _holders(unpacked))


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar file, compressed or not, into `folder`.

    Raises:
        ClientError: it is damaged, too large, or has members that are no plain files inside.
        OSError: `folder` cannot be written to, or has no room.
    """
    total = count = 0
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                count += 1
                total += member.size
                if not (member.isreg() or member.isdir()):
                    raise _unsafe(archive, member.name, "is neither a file nor a folder")
                if total > MAX_BYTES or count > MAX_MEMBERS:
                    raise ClientError(
                        f"{archive} is no model: it unpacks to more than {MAX_BYTES >> 30} GiB or "
                        f"{MAX_MEMBERS} files. {CURE}"
                    )
                tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name, f"is refused ({error})") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(archive, error) from error
    except (ValueError, OverflowError) as error:  # a NUL in a name, a time that is no number
        raise _damaged(archive, error) from error
    except OSError as error:
        # Without a number: the data are not what gzip or bz2 takes.
        if error.errno is None or (error.errno in _OF_NAMES and folder.is_dir()):
            raise _damaged(archive, error) from error
        raise


def _archive(folder: Path) -> Path | None:
    """The one archive that is meant; other archives of a job lie beside its model.tar.gz."""
    found = sorted(
        path for path in folder.rglob("*") if path.name.endswith(ENDINGS) and path.is_file()
    )
    meant = [path for path in found if path.name == ARCHIVE] or found
    if len(meant) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in meant[:10])
        raise ClientError(
            f"The channel 'model' ({folder}) holds {len(meant)} archives: {names}. Give the "
            "model.tar.gz of one job."
        )
    return meant[0] if meant else None


def _holders(folder: Path) -> list[Path]:
    """The folders with a graph in them."""
    return sorted({path.parent for path in folder.rglob(f"*{SYMBOL_ENDING}") if path.is_file()})


def _only(place: Path, holders: list[Path]) -> Path:
    if len(holders) == 1:
        return holders[0]
    found = "none" if not holders else ", ".join(str(holder) for holder in holders[:10])
    raise ClientError(
        f"{place} must hold one folder with a file *{SYMBOL_ENDING}; found: {found}. {CURE}"
    )


def _unsafe(archive: Path, member: str, reason: str) -> ClientError:
    return ClientError(f"{archive} is no model: its member {member!r} {reason}. {CURE}")


def _damaged(archive: Path, error: Exception) -> ClientError:
    return ClientError(f"{archive} is no tar archive or is damaged ({first_line(error)}). {CURE}")
