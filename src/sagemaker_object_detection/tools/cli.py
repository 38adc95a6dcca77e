"""The command line `object-detection`.

Each command lives in a module of its own. What is imported here is quick: a command that needs
MXNet imports it when it runs.
"""

import errno
import json

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
from sagemaker_object_detection.tools.predict import command as predict_command
from sagemaker_object_detection.tools.processes import stop_on_signals
from sagemaker_object_detection.tools.report_text import printable
from sagemaker_object_detection.tools.validate import command as validate_command
from sagemaker_object_detection.tools.weights import command as weights_command

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


main.add_command(convert_command)
main.add_command(demo_command)
main.add_command(evaluate_command)
main.add_command(export_command)
main.add_command(predict_command)
main.add_command(validate_command)
main.add_command(weights_command)

if __name__ == "__main__":
    main()
