"""`object-detection train`: from a folder of labeled images to a model, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.data.sources.splits import SPLITS
from sagemaker_object_detection.platform.hyperparameters import SETTINGS
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.tools.options import attribute_names_option
from sagemaker_object_detection.tools.output import logged, printable
from sagemaker_object_detection.tools.training_job import (
    BASE_NETWORK,
    COUNTED,
    prepare,
    reopen,
    run,
)

_PATH = click.Path(path_type=Path)
_TABLE = {setting.name: setting for setting in SETTINGS if setting.name not in COUNTED}


class _Command(click.Command):
    """Shows the hyperparameters under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for heading, of_table in (("Options", False), ("Hyperparameters", True)):
            chosen = [param for param in options if (param.name in _TABLE) == of_table]
            with formatter.section(heading):
                formatter.write_dl([param.get_help_record(ctx) or ("", "") for param in chosen])


def _hyperparameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each row of the table, which checks itself what is given."""
    for name, row in reversed(_TABLE.items()):
        default = BASE_NETWORK if name == "base_network" else row.default_text
        told = f"{row.kind.description}{default and f'; default: {default}'}"
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, name, metavar="VALUE", help=f"{row.text} [{told}]")(command)
    return command


@click.command(
    "train",
    cls=_Command,
    short_help="Train a detector on labeled images.",
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)
@click.argument("data", required=False, type=_PATH)
@click.option("--out", required=True, type=_PATH, help="Folder of the run, new or empty.")
@click.option(
    "--validation",
    type=_PATH,
    help="Data to validate on. Default: the split val, valid or validation of DATA.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(SPLITS)),
    help="Of DATA, where it holds labels in several formats.",
)
@attribute_names_option
@click.option("--resume", is_flag=True, help="Continue the run in --out; DATA may be left out.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@_hyperparameter_options
def command(
    data: Path | None,
    out: Path,
    validation: Path | None,
    form: str | None,
    attribute_names: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    **hyperparameters: str | None,
) -> None:
    """Train a detector on the labeled images in DATA.

    DATA is a folder in the layout of Pascal VOC, YOLO, COCO, augmented manifests, image + JSON or
    RecordIO, or its data.yaml, COCO file, manifest or .rec file. Classes and images are counted,
    and all labels are checked first. --out gets the model and the reports in the layout of
    /opt/ml, as in the container; the data is not copied.

    \b
    object-detection train dataset --out runs/first
    object-detection train images --validation-share 0.2 --epochs 60 --out runs/second
    object-detection train --resume --out runs/second
    """
    given = {name: value for name, value in hyperparameters.items() if value is not None}
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other. Give one of them.")
    if resume:
        paths = reopen(out, given, data, validation)
    elif data is None:
        raise click.UsageError("Missing argument 'DATA'. Only --resume does without.")
    else:
        with logged():
            paths = prepare(
                data,
                out,
                given,
                validation=validation,
                form=form,
                attribute_names=attribute_names,
                overwrite=overwrite,
                tell=lambda line: click.echo(printable(line)),
            )
    code = run(paths)
    click.echo(_closing(paths, code), err=code != 0)
    if code:
        raise SystemExit(code)


def _closing(paths: Paths, code: int) -> str:
    """Where everything is, and what can be done next."""
    base, model, validation = (
        shlex.quote(str(path))
        for path in (paths.base, paths.model_dir, paths.channel_dir("validation"))
    )
    resume = f"Continue: object-detection train --resume --out {base}"
    if code:
        return f"Training ended with exit code {code}.\n{resume}"
    if not (paths.model_dir / "model.json").is_file():
        return f"Training was stopped before there was a model.\n{resume}"
    lines = [
        f"Model:    {paths.model_dir}",
        f"Report:   {paths.output_data_dir / 'report.html'}",
        f"Serve:    object-detection serve {model}",
        f"Predict:  object-detection predict IMAGES --model {model} --out predictions",
        f"Export:   object-detection export --onnx {model} detector.onnx",
    ]
    if paths.channel_dir("validation").is_dir():
        lines.append(f"Evaluate: object-detection evaluate {model} {validation}")
    return "\n".join(lines)
