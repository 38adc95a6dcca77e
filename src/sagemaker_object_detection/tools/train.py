"""`object-detection train`: from a folder of labeled images to a model, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.platform.hyperparameters import SETTINGS
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.settings import Setting
from sagemaker_object_detection.tools.training_job import (
    BASE_NETWORK,
    COUNTED,
    prepare,
    reopen,
    run,
)

_FORMATS = ("coco", "manifest", "recordio", "sagemaker-json", "voc", "yolo")
_DEFAULTS = {"base_network": BASE_NETWORK}


class _Command(click.Command):
    """Shows the options of the hyperparameters under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"Options": [], "Hyperparameters": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                rows["Hyperparameters" if param.name in _NAMES else "Options"].append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)


_OPTIONS = [setting for setting in SETTINGS if setting.name not in COUNTED]
_NAMES = {setting.name for setting in _OPTIONS}


def _help(setting: Setting) -> str:
    default = _DEFAULTS.get(setting.name, setting.default_text)
    told = f"; default: {default}" if default else ""
    return f"{setting.text} [{setting.kind.description}{told}]"


def hyperparameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each hyperparameter; the table itself checks what is given."""
    for setting in reversed(_OPTIONS):
        flag = f"--{setting.name.replace('_', '-')}"
        option = click.option(flag, setting.name, metavar="VALUE", help=_help(setting))
        command = option(command)
    return command


def _two_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",")) if value else ()
    if value is not None and (len(names) != 2 or not all(names)):
        raise click.BadParameter(f"{value!r} is not two names with a comma", ctx, param)
    return names


_PATH = click.Path(path_type=Path)


@click.command(
    "train",
    cls=_Command,
    short_help="Train a detector on labeled images.",
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)
@click.argument("data", required=False, type=_PATH)
@click.option("--out", required=True, type=_PATH, help="Folder of the run: a new or an empty one.")
@click.option(
    "--validation",
    type=_PATH,
    help="Data to validate on. By default the split val, valid or validation of DATA, or a part of "
    "train as --validation-share says.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Of DATA, where it holds labels in several formats.",
)
@click.option(
    "--attribute-names",
    callback=_two_names,
    metavar="IMAGE,ANNOTATION",
    help="Of a manifest with several annotations, e.g. source-ref,bounding-box.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out; DATA may be left out.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@hyperparameter_options
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
    if validation is not None and given.get("validation_share"):
        raise click.UsageError(
            "--validation and --validation-share exclude each other. Give one of them."
        )
    if resume:
        paths = reopen(out, given, data, validation)
    elif data is None:
        raise click.UsageError("Missing argument 'DATA'. Only --resume does without.")
    else:
        # Slow to import, and the command line answers at once.
        from sagemaker_object_detection.tools.report_text import printable
        from sagemaker_object_detection.tools.shown_log import logged

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
    click.echo("\n".join(_closing(paths, code)), err=code != 0)
    if code:
        raise SystemExit(code)


def _closing(paths: Paths, code: int) -> list[str]:
    """Where everything is, and what can be done next."""
    base = shlex.quote(str(paths.base))
    resume = f"object-detection train --resume --out {base}"
    lines = []
    if (paths.model_dir / "model.json").is_file():
        lines.append(f"Model:    {paths.model_dir}")
    report = paths.output_data_dir / "report.html"
    if report.is_file():
        lines.append(f"Report:   {report}")
    if code:
        checkpoints = paths.base / "checkpoints"
        if checkpoints.is_dir() and any(checkpoints.iterdir()):
            lines.append(f"Continue: {resume}")
        return [f"Training ended with exit code {code}.", *lines]
    if not lines:
        return ["Training was stopped before there was a model.", f"Continue: {resume}"]
    model = shlex.quote(str(paths.model_dir))
    lines.append(f"Predict:  object-detection predict IMAGES --model {model} --out predictions")
    if paths.channel_dir("validation").is_dir():
        channel = shlex.quote(str(paths.channel_dir("validation")))
        lines.append(f"Evaluate: object-detection evaluate {model} {channel}")
    lines.append(f"Export:   object-detection export --onnx {model} detector.onnx")
    return lines
