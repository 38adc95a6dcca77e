"""Fetch weights trained on ImageNet, checked by their checksums: when a user asks for them.

    zoo.py WEIGHTS FOLDER [--url TEMPLATE]     # while an image is built, without any library

WEIGHTS is `none`, `imagenet` for the service's two networks, or values of base_network separated by
commas. The files are those of GluonCV's model zoo, with the names and SHA-1 sums of its table;
TEMPLATE is where a mirror has them, with {file} for the name. Standard library only.
"""

import argparse
import hashlib
import http.client
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

URL = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models/{file}.zip"
ATTEMPTS = 3
TIMEOUT_SECONDS = 60
LARGEST = 2**30
"""Bytes: more than any of the files has, and less than what would fill a disk."""
_BLOCK = 2**20


@dataclass(frozen=True)
class Weights:
    """A file of the zoo: the name of the network there, and the SHA-1 sum of its .params."""

    name: str
    sha1: str

    @property
    def file(self) -> str:
        """As the zoo and training name it, without ending."""
        return f"{self.name}-{self.sha1[:8]}"


ZOO: Mapping[str, Weights] = {
    "vgg-16": Weights("vgg16_atrous", "4fa2e1ad96b8c8d1ba9e5a43556cd909d70b3985"),
    "resnet-50": Weights("resnet50_v1", "cc729d95031ca98cf2ff362eb57dee4d9994e4b2"),
    "resnet-18": Weights("resnet18_v1", "a0666292f0a30ff61f857b0b66efc0228eb6a54b"),
    "resnet-50b": Weights("resnet50_v1b", "0ecdba34691be172036ddf244ff1b2eade75ffde"),
    "resnet-101": Weights("resnet101_v1", "d988c13d6159779e907140a638c56f229634cb02"),
    "mobilenet1.0": Weights("mobilenet1.0", "efbb2ca3881998d5a8c5cb6c457a28c1e085fed5"),
}
IMAGENET = ("vgg-16", "resnet-50")


class FetchError(Exception):
    """Weights that cannot be had; the text names the address and what is wrong."""


def chosen(words: str) -> list[Weights]:
    """The files that WEIGHTS means. Raises FetchError for an unknown word."""
    if words in ("", "none"):
        return []
    names = IMAGENET if words == "imagenet" else words.split(",")
    unknown = [name for name in names if name not in ZOO]
    if unknown:
        raise FetchError(
            f"WEIGHTS is {words!r}: there is no {unknown[0]!r}. Give none, imagenet "
            f"({' and '.join(IMAGENET)}), or some of {', '.join(ZOO)} separated by commas."
        )
    return [ZOO[name] for name in names]


def fetch(weights: Weights, folder: Path, template: str = URL) -> Path:
    """Download, check and unpack one file; returns its path. One that is there already stays.

    Raises:
        FetchError: nothing was downloaded, or not what was expected; nothing is left behind.
    """
    path = folder / f"{weights.file}.params"
    if path.is_file() and _sha1(path) == weights.sha1:
        return path
    url = template.replace("{file}", weights.file)
    with tempfile.TemporaryFile() as archive:
        _download(url, archive)
        handle, aside = tempfile.mkstemp(dir=folder, prefix=".fetch-")
        try:
            with os.fdopen(handle, "wb") as out:
                _unpack(archive, path.name, out, url)
            got = _sha1(Path(aside))
            if got != weights.sha1:
                raise FetchError(
                    f"{url}: {path.name} in it is not the file that is expected: its SHA-1 is "
                    f"{got}, expected {weights.sha1}. It is not used. Fetch it again, or name "
                    "another source in WEIGHTS_URL."
                )
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    return path


def _download(url: str, out: IO[bytes]) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        out.seek(0)
        out.truncate()
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                _copy(response, out, url)
                length = response.headers.get("Content-Length")
            if length is not None and out.tell() != int(length):
                raise http.client.IncompleteRead(b"", int(length) - out.tell())
            return
        except (OSError, http.client.HTTPException) as error:
            refused = False
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # the answer's body
                refused = error.code < 500
            if refused or attempt == ATTEMPTS:
                raise FetchError(
                    f"{url} cannot be downloaded ({error}). Look whether this machine reaches it, "
                    "name another source in WEIGHTS_URL, or build with WEIGHTS=none and give "
                    "weights in a channel."
                ) from error
            print(f"{url}: {error}; once more", file=sys.stderr, flush=True)
            time.sleep(attempt)


def _unpack(archive: IO[bytes], name: str, out: IO[bytes], url: str) -> None:
    """Copy the one member that is expected, whatever else the archive holds."""
    try:
        with zipfile.ZipFile(archive) as unzipped, unzipped.open(name) as member:
            _copy(member, out, url)
    except KeyError:
        raise FetchError(f"{url}: there is no {name} in it. Give another source.") from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise FetchError(f"{url}: it is no zip file that can be read ({error}).") from error


def _copy(source: IO[bytes], out: IO[bytes], url: str) -> None:
    size = 0
    while block := source.read(_BLOCK):
        size += len(block)
        if size > LARGEST:
            raise FetchError(f"{url}: it holds more than {LARGEST} bytes, as no such file does.")
        out.write(block)


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--url", metavar="TEMPLATE", default="", help=f"default: {URL}")
    options = parser.parse_args()
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        for weights in chosen(options.weights):
            path = fetch(weights, options.folder, options.url or URL)
            print(f"{path}: SHA-1 {weights.sha1} as expected", flush=True)
    except FetchError as error:
        sys.exit(f"fetch_weights: {error}")


if __name__ == "__main__":
    main()
