"""Deploy a model to an endpoint with instances of its own, or take it away again.

python docs/sagemaker/endpoint.py --role ARN --image URI --model s3://.../model.tar.gz --name NAME
python docs/sagemaker/endpoint.py --delete --name NAME

Clients of the built-in algorithm go on as they are with --env OBJECT_DETECTION_RESPONSE=builtin.
"""

from __future__ import annotations

import argparse
import sys

import shared


def requests(options: argparse.Namespace) -> tuple[shared.Request, shared.Request, shared.Request]:
    """CreateModel, CreateEndpointConfig and CreateEndpoint."""
    instances = {
        "InstanceType": options.instance_type,
        "InitialInstanceCount": options.instance_count,
    }
    return (
        shared.model_request(options),
        shared.endpoint_config_request(options, **instances),
        shared.endpoint_request(options),
    )


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_model_options(parser)
    parser.add_argument("--instance-type", default="ml.c5.xlarge")
    parser.add_argument("--instance-count", type=int, default=1)
    return parser


def delete() -> None:
    """Take away what this script, serverless.py or multi_model.py has made."""
    parser = shared.make_parser(__doc__, made=False)
    parser.add_argument("--delete", action="store_true", required=True)
    options = parser.parse_args()
    client = shared.make_client(options)
    client.delete_endpoint(EndpointName=options.name)
    client.delete_endpoint_config(EndpointConfigName=options.name)
    client.delete_model(ModelName=options.name)


def create() -> None:
    options = make_parser().parse_args()
    shared.deploy(options, requests(options))


if __name__ == "__main__":
    delete() if "--delete" in sys.argv else create()
