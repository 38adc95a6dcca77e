"""What the scripts beside it share: options, parts of requests, and a client that can be dry.

Nothing but boto3 is needed, and to print the requests not even that.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

Request = dict[str, Any]

# What `object-detection metrics --json` prints; a test holds them equal.
METRIC_DEFINITIONS = json.loads(Path(__file__).with_name("metrics.json").read_text())
RECORDIO, IMAGES = "application/x-recordio", "application/x-image"
IMAGE_CHANNELS = ("train", "validation", "train_annotation", "validation_annotation")


def make_parser(doc: str | None, made: bool = True) -> argparse.ArgumentParser:
    """Options of every script. made: it makes something that gets the name; else this is there."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    name = time.strftime("object-detection-%Y%m%d-%H%M%S") if made else None
    text = f"of what is made (default: {name})" if made else "of the endpoint"
    parser.add_argument("--name", default=name, required=not made, help=text)
    parser.add_argument("--region", help="default: that of your AWS configuration")
    parser.add_argument("--print", action="store_true", help="show the requests, send nothing")
    return parser


def add_role_and_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", required=True, help="ARN of the role that SageMaker takes")
    parser.add_argument("--image", required=True, help="what container/build_and_push.sh printed")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    add_role_and_image(parser)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--prefix", default="object-detection", help="folder in the bucket")
    parser.add_argument("--num-classes", required=True)
    parser.add_argument("--num-training-samples", required=True, help="images in train")
    parser.add_argument(
        "-H", dest="hyperparameters", metavar="NAME=VALUE", type=pair, action="append", default=[]
    )
    parser.add_argument(
        "--channel",
        dest="channels",
        metavar="NAME=S3_URI",
        type=pair,
        action="append",
        default=[],
        help="one more, as test=s3://... or pretrained=s3://...",
    )
    parser.add_argument("--instance-type", default="ml.c5.4xlarge")
    parser.add_argument("--instance-count", type=int, default=1)
    parser.add_argument("--volume-size", type=int, default=50, metavar="GB")
    parser.add_argument("--max-hours", type=int, default=24, help="the job is stopped after that")


def add_form(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--form", choices=["recordio", "image"], default="recordio")


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE as two texts."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def folder(options: argparse.Namespace, *parts: str) -> str:
    """The S3 URI of a folder of this project in the bucket."""
    prefix = options.prefix.strip("/")
    return "/".join([f"s3://{options.bucket}", *([prefix] if prefix else []), *parts])


def channel(name: str, uri: str, content_type: str | None = None, mode: str = "File") -> Request:
    """A channel with everything below an S3 prefix; without a type the files tell what they are."""
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": uri,
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": source},
        **({"ContentType": content_type} if content_type else {}),
        "CompressionType": "None",
        "RecordWrapperType": "None",
        "InputMode": mode,
    }


def data_channels(options: argparse.Namespace, mode: str = "File") -> list[Request]:
    """The channels of a form, each in the folder of the bucket that has its name."""
    names: tuple[str, ...] = ("train", "validation")
    content_type = RECORDIO
    if options.form == "image":
        names, content_type = IMAGE_CHANNELS, IMAGES
    # With a slash, since train is also how train_annotation begins.
    return [channel(name, folder(options, name) + "/", content_type, mode) for name in names]


def training_request(options: argparse.Namespace, channels: list[Request]) -> Request:
    """CreateTrainingJob for these channels, and those of --channel."""
    return {
        "TrainingJobName": options.name,
        "RoleArn": options.role,
        "AlgorithmSpecification": {
            "TrainingImage": options.image,
            "TrainingInputMode": channels[0]["InputMode"],
            "MetricDefinitions": METRIC_DEFINITIONS,
        },
        "HyperParameters": {
            "num_classes": options.num_classes,
            "num_training_samples": options.num_training_samples,
            "base_network": "resnet-50",
            **dict(options.hyperparameters),
        },
        "InputDataConfig": [*channels, *(channel(*named) for named in options.channels)],
        "OutputDataConfig": {"S3OutputPath": folder(options, "output")},
        "ResourceConfig": {
            "InstanceType": options.instance_type,
            "InstanceCount": options.instance_count,
            "VolumeSizeInGB": options.volume_size,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600 * options.max_hours},
    }


def add_model_options(parser: argparse.ArgumentParser) -> None:
    add_role_and_image(parser)
    parser.add_argument("--model", required=True, help="S3 URI of a job's model.tar.gz")
    add_environment(parser)


def add_environment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", metavar="NAME=VALUE", type=pair, action="append", default=[])


def model_request(options: argparse.Namespace) -> Request:
    """CreateModel for a job's artefact."""
    container = {"Image": options.image, "ModelDataUrl": options.model}
    return {
        "ModelName": options.name,
        "ExecutionRoleArn": options.role,
        "PrimaryContainer": {**container, "Environment": dict(options.env)},
    }


def endpoint_config_request(options: argparse.Namespace, **where: object) -> Request:
    """CreateEndpointConfig for the model of the same name; `where` says what it runs on."""
    variant = {"VariantName": "AllTraffic", "ModelName": options.name, **where}
    return {"EndpointConfigName": options.name, "ProductionVariants": [variant]}


def endpoint_request(options: argparse.Namespace) -> Request:
    """CreateEndpoint for the configuration of the same name."""
    return {"EndpointName": options.name, "EndpointConfigName": options.name}


def deploy(options: argparse.Namespace, requests: tuple[Request, Request, Request]) -> None:
    """Send CreateModel, CreateEndpointConfig and CreateEndpoint."""
    client = make_client(options)
    model, config, endpoint = requests
    tell(client.create_model(**model))
    tell(client.create_endpoint_config(**config))
    tell(client.create_endpoint(**endpoint))


def tell(answer: Request) -> None:
    """Show what was made."""
    for key, value in answer.items():
        if key.endswith("Arn"):
            print(value)


def make_client(options: argparse.Namespace, service: str = "sagemaker") -> Any:  # noqa: ANN401
    """boto3's client, or with --print one that shows what it would send."""
    if options.print:
        return PrintingClient()
    import boto3

    return boto3.client(service, region_name=options.region)


class PrintingClient:
    """Shows each request as JSON, {operation: request}; sends nothing, answers nothing."""

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - a method for every operation
        def show(**request: object) -> Request:
            print(json.dumps({operation: request}, indent=2, default=_size))
            return {}

        return show


def _size(body: bytes) -> str:
    return f"<{len(body)} bytes>"
