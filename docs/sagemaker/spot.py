"""Train on spot instances, with checkpoints, at a part of the price.

python docs/sagemaker/spot.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205

When the instance is taken away the job waits for another and goes on at the batch where it was.
With --checkpoints of an earlier job a new one goes on where that one ended.
"""

from __future__ import annotations

import argparse

import shared


def request(options: argparse.Namespace) -> shared.Request:
    """CreateTrainingJob; waiting for an instance counts in --max-wait-hours."""
    wanted = shared.training_request(options, shared.data_channels(options))
    uri = options.checkpoints or shared.folder(options, "checkpoints", options.name)
    wanted["CheckpointConfig"] = {"S3Uri": uri, "LocalPath": "/opt/ml/checkpoints"}
    wanted["EnableManagedSpotTraining"] = True
    wanted["StoppingCondition"]["MaxWaitTimeInSeconds"] = 3600 * options.max_wait_hours
    return wanted


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    shared.add_form(parser)
    parser.add_argument("--checkpoints", metavar="S3_URI", help="default: a folder of this job")
    parser.add_argument("--max-wait-hours", type=int, default=48, help="from start to end")
    return parser


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    if options.max_wait_hours < options.max_hours:
        parser.error("--max-wait-hours has to be --max-hours or more: it has the training in it")
    client = shared.make_client(options)
    shared.tell(client.create_training_job(**request(options)))


if __name__ == "__main__":
    main()
