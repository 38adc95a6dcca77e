"""Train on from a model: of this container, or of the built-in algorithm.

python docs/sagemaker/incremental.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205 --model s3://BUCKET/.../output/model.tar.gz

base_network and num_classes have to be those of the model.
"""

from __future__ import annotations

import argparse

import shared


def request(options: argparse.Namespace) -> shared.Request:
    """CreateTrainingJob with a channel model."""
    model = shared.channel("model", options.model, "application/x-sagemaker-model")
    return shared.training_request(options, [*shared.data_channels(options), model])


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    shared.add_form(parser)
    parser.add_argument("--model", required=True, help="S3 URI of a job's model.tar.gz")
    return parser


def main() -> None:
    options = make_parser().parse_args()
    client = shared.make_client(options)
    shared.tell(client.create_training_job(**request(options)))


if __name__ == "__main__":
    main()
