"""The command line `object-detection`.

Each command lives in a module of its own, which is imported when the command is asked for.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from sagemaker_object_detection import __version__
from sagemaker_object_detection.platform.errors import (
    INTERRUPTED,
    AlgorithmError,
    ClientError,
    as_job_error,
)
from sagemaker_object_detection.platform.logs import metric_definitions
from sagemaker_object_detection.tools.output import make_folder, printable

COMMANDS: Mapping[str, str] = {
    "check": "Check a training job without running it.",
    "convert": "Convert labeled images into channels for training.",
    "demo": "Train on drawn images, serve the model and ask it.",
    "evaluate": "Score a model on labeled images.",
    "export": "Write a model in a format of other libraries.",
    "predict": "Detect objects in images, draw and write them.",
    "serve": "Serve a model over HTTP, with a page to try it.",
    "train": "Train a detector on labeled images.",
    "validate": "Check CHANNELS as training would.",
}
"""Command -> what it does; the attribute `command` of the module of that name is it."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside the block SIGTERM, and SIGHUP of a terminal that is closed, raise SystemExit.

    So all is cleared away as by Ctrl-C. A signal that is ignored, as under nohup, stays so.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heeded = [number for number, handler in former.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, former[number])


_OUT_HELP = (
    "Folder for the new file, made if needed. Default: where training looks for weights, which is "
    "OBJECT_DETECTION_WEIGHTS or else /opt/object-detection/weights."
)
_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP)
"""What can only be the fault of a path that was given."""


class _Group(click.Group):
    """Shows a failure whose text is meant for the user without a traceback; owns the exit codes.

    Told to stop, a command clears away what it has unpacked or written aside.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"sagemaker_object_detection.tools.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        here = {name: command.get_short_help_str() for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted({**here, **COMMANDS}.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            with stop_on_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # click would end with 1
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            failure = as_job_error(error)
            if isinstance(error, OSError) and error.errno in _OF_PATHS:
                failure = ClientError(f"{error.filename}: {error.strerror}. Give another path.")
            if isinstance(failure, AlgorithmError) and failure is not error:
                raise  # click's own, or a fault of ours, whose traceback tells most
            click.echo(printable(f"{failure.label}: {failure}"), err=True)
            ctx.exit(failure.exit_code)


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="object-detection")
def main() -> None:
    """Train object detectors, and use them."""


@main.command(short_help="Show the metrics that training logs.")
@click.option("--json", "as_json", is_flag=True, help="As the MetricDefinitions of a job.")
def metrics(as_json: bool) -> None:
    """Show the metrics that training logs, and the regular expressions that read them."""
    definitions = metric_definitions()
    if as_json:
        click.echo(json.dumps(definitions, indent=2))
        return
    width = max(len(metric["Name"]) for metric in definitions)
    for metric in definitions:
        click.echo(f"{metric['Name']:{width}}  {metric['Regex']}")


@main.group("weights", short_help="Get weights to start training from.")
def weights() -> None:
    """Get weights to start training from: of GluonCV's model zoo, or out of a file that is here."""


@weights.command("fetch", short_help="Download a base network trained on ImageNet.")
@click.argument("network")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help=_OUT_HELP)
@click.option("--url", help="Of a mirror, with {file} for the name of the file.")
def fetch_command(network: str, out: Path | None, url: str | None) -> None:
    """Download the weights of NETWORK, a base_network, and compare their checksum.

    They are those of GluonCV's model zoo, trained on ImageNet. Training, which fetches nothing,
    finds them in its folder of weights. A file that is there already stays.
    """
    from sagemaker_object_detection.model.weights import weights_folder
    from sagemaker_object_detection.model.zoo import URL, FetchError, chosen, fetch

    folder = out or weights_folder(os.environ)
    make_folder(folder)
    try:
        for found in chosen(network):
            path = fetch(found, folder, url or URL)
            click.echo(f"Wrote {path}: SHA-1 {found.sha1} as expected.")
    except FetchError as error:
        raise ClientError(str(error)) from error


@weights.command("import", short_help="Take over a ResNet-50 of torchvision or timm.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help=_OUT_HELP)
def import_command(file: Path, out: Path | None) -> None:
    """Take over the ResNet-50 in FILE, a .safetensors of torchvision or timm.

    Training starts from it with base_network resnet-50b and use_pretrained_model 1, when the new
    file is in its folder of weights or in the channel `pretrained`. docs/weights.md has more.
    """
    # Slow to import, and the command line is to answer at once.
    from sagemaker_object_detection.model.torch_resnet import BASE_NETWORK, import_resnet
    from sagemaker_object_detection.model.weights import weights_folder

    folder = out or weights_folder(os.environ)
    make_folder(folder)
    path = import_resnet(file, folder)
    click.echo(
        f"Wrote {path}: weights for base_network {BASE_NETWORK}. Training finds the file in its "
        "folder of weights, which OBJECT_DETECTION_WEIGHTS names, or in the channel pretrained."
    )


if __name__ == "__main__":
    main()
