"""`object-detection export`: a trained model in a form for other runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.archive import opened_model
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.output import make_writable, printable

_OF_THE_MODEL = (
    *(artifact.SYMBOL_FILE, artifact.PARAMS_FILE, artifact.HYPERPARAMETERS_FILE),
    *(artifact.MODEL_FILE, artifact.ONNX_FILE, artifact.INT8_FILE),
)


@click.command("export", short_help="Write a model for other runtimes.")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--onnx", is_flag=True, expose_value=False, help="As one ONNX file (so far the only form)."
)
def command(model: Path, out: Path) -> None:
    """Write MODEL, with decoding and non-maximum suppression inside, to the file OUT.

    MODEL is a model.tar.gz or the folder with its files, of this algorithm or of the service's
    own. The ONNX file takes `data` (batch, 3, S, S), float32, RGB 0-255, the picture resized to
    the square of image_shape by bilinear interpolation. It gives `detections` (batch, K, 6), the
    best first: rows [class_id, score, xmin, ymin, xmax, ymax], corners in 0..1; rows with class_id
    -1 are to be ignored. Class names and settings are in the file's metadata.
    """
    _check_out(out, model)
    make_writable(out.parent)
    try:
        classes, rows = export_onnx(model, out)
    except ArtifactError as error:
        raise ClientError(f"{error}.") from error
    click.echo(printable(f"Wrote {out}: {classes} classes, up to {rows} detections a picture."))


def _check_out(out: Path, model: Path) -> None:
    """The model must stay what it is: its model.onnx is the twin that endpoints load."""
    written, given = out.resolve(), model.resolve()
    inside = written.is_relative_to(given) and written.name in _OF_THE_MODEL
    if written == given or inside:
        raise ClientError(
            f"{out} is a file of the model itself, which would be written over. Give another path."
        )


def export_onnx(model: Path, out: Path) -> tuple[int, int]:
    """Write the ONNX file, into a folder that is there.

    Returns:
        How many classes it has, and how many rows the output has.

    Raises:
        ArtifactError, ClientError: the model cannot be used.
    """
    # Slow to import, and the command line is to answer at once.
    from sagemaker_object_detection.model.deployed import read_deployed
    from sagemaker_object_detection.model.onnx_export import convert_detector
    from sagemaker_object_detection.model.onnx_heads import write_onnx

    with opened_model(model) as folder:
        graph, config = read_deployed(folder)
        detector = convert_detector(graph, config.class_names)
    write_onnx(detector, out)
    rows = detector.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return len(config.class_names), rows
