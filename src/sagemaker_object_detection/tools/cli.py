"""The command line `object-detection`.

Each command lives in a module of its own. What is imported here is quick: a command that needs
MXNet imports it when it runs.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
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
from sagemaker_object_detection.tools.convert import command as convert_command
from sagemaker_object_detection.tools.demo import command as demo_command
from sagemaker_object_detection.tools.evaluate import command as evaluate_command
from sagemaker_object_detection.tools.export import command as export_command
from sagemaker_object_detection.tools.output import make_folder, printable
from sagemaker_object_detection.tools.predict import command as predict_command
from sagemaker_object_detection.tools.validate import command as validate_command


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


_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP)
"""What can only be the fault of a path that was given."""


class _Group(click.Group):
    """Shows a failure whose text is meant for the user without a traceback; owns the exit codes.

    Told to stop, a command clears away what it has unpacked or written aside.
    """

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
    """Tools around the training and the serving of object detectors."""


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


@main.group("weights", short_help="Take over weights to start training from.")
def weights() -> None:
    """Take over weights to start training from, out of files that are here; nothing is fetched."""


@weights.command("import", short_help="Take over a ResNet-50 of torchvision or timm.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the new file, made if needed. Default: where training looks for weights, "
    "which is OBJECT_DETECTION_WEIGHTS or else /opt/object-detection/weights.",
)
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


main.add_command(convert_command)
main.add_command(demo_command)
main.add_command(evaluate_command)
main.add_command(export_command)
main.add_command(predict_command)
main.add_command(validate_command)

if __name__ == "__main__":
    main()
