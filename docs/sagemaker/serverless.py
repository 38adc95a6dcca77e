"""Deploy a model to a serverless endpoint: nothing runs, and nothing is paid for, between requests.

python docs/sagemaker/serverless.py --role ARN --image URI --model s3://.../model.tar.gz

There are no GPUs: take the CPU image. The first request after a pause waits for a cold start.
endpoint.py --delete --name NAME takes it away again.
"""

from __future__ import annotations

import argparse

import shared

MEMORY_MB = [1024, 2048, 3072, 4096, 5120, 6144]
# What a serverless endpoint takes; a larger picture would be refused before it came here.
LARGEST_PICTURE_MB = "4"


def requests(options: argparse.Namespace) -> tuple[shared.Request, shared.Request, shared.Request]:
    """CreateModel, CreateEndpointConfig and CreateEndpoint."""
    model = shared.model_request(options)
    environment = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": LARGEST_PICTURE_MB}
    model["PrimaryContainer"]["Environment"] = environment | dict(options.env)
    serverless = {
        "MemorySizeInMB": options.memory_mb,
        "MaxConcurrency": options.max_concurrency,
    }
    config = shared.endpoint_config_request(options, ServerlessConfig=serverless)
    return model, config, shared.endpoint_request(options)


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_model_options(parser)
    parser.add_argument("--memory-mb", type=int, choices=MEMORY_MB, default=4096)
    parser.add_argument("--max-concurrency", type=int, default=5, help="1 to 200")
    return parser


def main() -> None:
    options = make_parser().parse_args()
    shared.deploy(options, requests(options))


if __name__ == "__main__":
    main()
