"""`object-detection serve`: the endpoint of the container, with a model of the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from sagemaker_object_detection.model.archive import opened_model
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE
from sagemaker_object_detection.serving import main
from sagemaker_object_detection.serving.settings import HOST_VARIABLE, PORT_VARIABLE


@click.command("serve", short_help="Serve a model over HTTP, with a page to try it.")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def command(model: Path, host: str, port: int) -> None:
    """Answer requests with MODEL, the folder or the model.tar.gz of a training job.

    The same program as in the container: its environment variables count (docs/endpoint.md). Only
    this machine is answered unless --host says otherwise, as 0.0.0.0 does.

    \b
    object-detection serve runs/first/model
    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8080/invocations
    """
    with opened_model(model) as folder, tempfile.TemporaryDirectory(prefix="serve-") as base:
        (Path(base) / "model").symlink_to(folder.resolve())
        os.environ |= {BASE_DIR_VARIABLE: base, HOST_VARIABLE: host, PORT_VARIABLE: str(port)}
        shown = "localhost" if host in ("0.0.0.0", "127.0.0.1") else host
        click.echo(f"Try the model at http://{shown}:{port} in a moment; Ctrl-C ends it.", err=True)
        code = main.run()
    if code:
        raise SystemExit(code)
