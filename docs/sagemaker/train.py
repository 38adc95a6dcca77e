"""Train on RecordIO or images in a bucket.

python docs/sagemaker/train.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205 -H epochs=30 -H mini_batch_size=16
"""

from __future__ import annotations

import argparse

import shared


def request(options: argparse.Namespace) -> shared.Request:
    """CreateTrainingJob: train/ and validation/ below the prefix are its channels."""
    return shared.training_request(options, shared.data_channels(options, options.input_mode))


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    shared.add_form(parser)
    modes = ["File", "FastFile", "Pipe"]
    parser.add_argument("--input-mode", choices=modes, default="File", help="Pipe is for recordio")
    return parser


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    if (options.form, options.input_mode) == ("image", "Pipe"):
        parser.error("single images do not come by Pipe mode; an augmented manifest does: pipe.py")
    client = shared.make_client(options)
    shared.tell(client.create_training_job(**request(options)))


if __name__ == "__main__":
    main()
