"""One training job, read from the configuration files and checked as a whole."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sagemaker_object_detection.platform import channels as channels_module
from sagemaker_object_detection.platform import hyperparameters as hyperparameters_module
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.paths import DEFAULT_BASE_DIR, Paths

log = logging.getLogger(__name__)

DEFAULT_HOST = "algo-1"
DEFAULT_CHECKPOINT_DIR = f"{DEFAULT_BASE_DIR}/checkpoints"

JobHosts = tuple[tuple[str, ...], str, str]
"""All hosts, this one, and the name of the network interface between them."""


@dataclass(frozen=True)
class Job:
    """What a training process has to do and where; everything in it has been checked.

    Attributes:
        checkpoint_dir: where checkpoints are to be written and looked for; None for no checkpoints.
    """

    paths: Paths
    hyperparameters: Hyperparameters
    channels: Mapping[str, Channel]
    hosts: tuple[str, ...]
    current_host: str
    network_interface_name: str
    checkpoint_dir: Path | None = None


def load_job(environ: Mapping[str, str]) -> Job:
    """Read the tree that `SAGEMAKER_BASE_DIR` names and check it.

    Raises ClientError with the faults of all files together. Without inputdataconfig.json the
    sub-folders of input/data are the channels, without resourceconfig.json there is one host: so a
    job can be run on a laptop from hyperparameters.json and data alone.
    """
    paths = Paths.from_environment(environ)
    faults: list[str] = []
    ignored: list[str] = []
    hyperparameters = _hyperparameters(paths, faults, ignored)
    shared = hyperparameters is not None and hyperparameters.validation_share > 0
    channels = _channels(paths, faults, ignored, shared)
    if ignored:
        log.info("Ignored: %s.", ", ".join(ignored))
    hosts = _hosts(paths, faults)
    checkpoint_dir = _checkpoint_dir(paths, faults)
    if channels is not None:
        try:
            channels = with_forms(channels)
            if shared and "train" in channels:
                channels["validation"] = _share_of(channels["train"])
        except ClientError as error:
            faults.extend(error.faults)
    if faults or hyperparameters is None or channels is None or hosts is None:
        raise ClientError(*faults)
    return Job(paths, hyperparameters, channels, *hosts, checkpoint_dir)


def _hyperparameters(paths: Paths, faults: list[str], ignored: list[str]) -> Hyperparameters | None:
    file = paths.hyperparameters_file
    if not file.is_file():
        faults.append(
            f"{file} is missing or not a file. It must hold the hyperparameters as a JSON object, "
            "at least num_classes and num_training_samples."
        )
        return None
    raw = read_object(file, faults)
    if raw is None:
        return None
    log.info("Merging with provided configuration from %s: %s", file, raw)
    ignored += [f"hyperparameter {name}" for name in raw if hyperparameters_module.is_ignored(name)]
    try:
        hyperparameters = hyperparameters_module.parse(raw)
    except ClientError as error:
        faults.extend(error.faults)
        return None
    log.info("Final configuration: %s", hyperparameters.as_strings())
    return hyperparameters


def _share_of(train: Channel) -> Channel:
    if train.form == "pipe":
        raise ClientError(
            "The hyperparameter validation_share cannot split a stream, and the channel train is "
            "in Pipe mode. Set its TrainingInputMode to File, or add a channel validation."
        )
    return replace(train, name="validation", form="share")


def _channels(
    paths: Paths, faults: list[str], ignored: list[str], shared: bool
) -> dict[str, Channel] | None:
    file = paths.input_data_config_file
    if file.is_file():
        config = read_object(file, faults)
        if config is None:
            return None
    else:
        config = channels_module.discover_channels(paths)
        log.info(
            "%s is missing: the sub-folders of %s are the channels (%s).",
            file,
            paths.data_dir,
            ", ".join(config) or "there are none",
        )
    ignored += [f"channel {name}" for name in config if name in channels_module.IGNORED]
    try:
        return channels_module.parse_channels(config, paths, shared)
    except ClientError as error:
        faults.extend(error.faults)
        return None


def find_hosts(environ: Mapping[str, str]) -> JobHosts | None:
    """The hosts of a job whose other files may be wrong; None where they are not told."""
    paths = Paths.from_environment(environ)
    return _hosts(paths, []) if paths.resource_config_file.is_file() else None


def _hosts(paths: Paths, faults: list[str]) -> JobHosts | None:
    file = paths.resource_config_file
    if not file.is_file():
        log.info("%s is missing: this is the only host, %s.", file, DEFAULT_HOST)
        return (DEFAULT_HOST,), DEFAULT_HOST, "eth0"
    raw = read_object(file, faults)
    if raw is None:
        return None
    hosts = raw.get("hosts")
    current = raw.get("current_host")
    interface = raw.get("network_interface_name") or "eth0"
    if not isinstance(hosts, list) or not hosts or not all(isinstance(h, str) for h in hosts):
        faults.append(f'{file}: "hosts" is {hosts!r}; it must be a list of host names.')
        return None
    if not isinstance(current, str) or current not in hosts:
        faults.append(f'{file}: "current_host" is {current!r}; it must be one of {hosts}.')
        return None
    if len(set(hosts)) < len(hosts):
        faults.append(f'{file}: "hosts" is {hosts!r}; every name may be there only once.')
        return None
    return tuple(hosts), current, str(interface)


def _checkpoint_dir(paths: Paths, faults: list[str]) -> Path | None:
    """LocalPath of checkpointconfig.json, /opt/ml/checkpoints when it names none."""
    file = paths.checkpoint_config_file
    if not file.is_file():
        return None
    raw = read_object(file, faults)
    if raw is None:
        return None
    path = raw.get("LocalPath") or DEFAULT_CHECKPOINT_DIR
    if not isinstance(path, str) or not Path(path).is_absolute():
        faults.append(f'{file}: "LocalPath" is {path!r}; it must be an absolute path.')
        return None
    return paths.moved(Path(path))


def read_object(file: Path, faults: list[str]) -> dict[str, object] | None:
    """Read a JSON object; add what is wrong with it to `faults` and return None if anything is."""
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        faults.append(f"{file} is not UTF-8 text (byte {error.start}). Save it as UTF-8.")
    except json.JSONDecodeError as error:
        faults.append(
            f"{file} is not JSON: {error.msg}, line {error.lineno}, column {error.colno}. "
            "Mend it there."
        )
    except _TwiceError as error:
        faults.append(f"{file}: the name '{error}' is there twice. Leave one out.")
    except (ValueError, RecursionError) as error:
        faults.append(f"{file} cannot be read as JSON: {error}.")
    else:
        if isinstance(value, dict):
            return value
        faults.append(
            f"{file} holds a JSON {type(value).__name__}; it must hold an object {{...}}."
        )
    return None


class _TwiceError(ValueError):
    """A name occurs twice in a JSON object, which the parser would pass over."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise _TwiceError(name)
        result[name] = value
    return result
