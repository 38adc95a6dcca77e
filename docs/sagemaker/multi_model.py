"""Deploy all models of a folder in S3 behind one endpoint; each is loaded when it is asked for.

python docs/sagemaker/multi_model.py --role ARN --image URI --models s3://BUCKET/models/ --name NAME
python docs/sagemaker/invoke.py --name NAME --target-model dogs.tar.gz picture.jpg

Here s3://BUCKET/models/dogs.tar.gz is the model.tar.gz of a job under another name. A model that is
copied there later can be asked for at once. endpoint.py --delete --name NAME takes it all away.
"""

from __future__ import annotations

import argparse

import shared


def requests(options: argparse.Namespace) -> tuple[shared.Request, shared.Request, shared.Request]:
    """CreateModel, CreateEndpointConfig and CreateEndpoint."""
    model = shared.model_request(options)
    model["PrimaryContainer"]["Mode"] = "MultiModel"
    instances = {
        "InstanceType": options.instance_type,
        "InitialInstanceCount": options.instance_count,
    }
    config = shared.endpoint_config_request(options, **instances)
    return model, config, shared.endpoint_request(options)


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_role_and_image(parser)
    parser.add_argument(
        "--models", dest="model", required=True, metavar="S3_URI", help="of the folder"
    )
    shared.add_environment(parser)
    parser.add_argument("--instance-type", default="ml.m5.2xlarge", help="memory decides")
    parser.add_argument("--instance-count", type=int, default=1)
    return parser


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    if not options.model.endswith("/"):
        parser.error("--models has to end with /: it is a folder of models, not one of them")
    shared.deploy(options, requests(options))


if __name__ == "__main__":
    main()
