"""Train on an augmented manifest, of Ground Truth for example, streamed in Pipe mode.

python docs/sagemaker/pipe.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205 --annotations bounding-box \
    --train s3://BUCKET/train.manifest --validation s3://BUCKET/validation.manifest

Each line of a manifest names an image in S3 and has its boxes:
{"source-ref": "s3://BUCKET/1.jpg", "bounding-box": {"image_size": [...], "annotations": [...]}}
"""

from __future__ import annotations

import argparse

import shared


def request(options: argparse.Namespace) -> shared.Request:
    """CreateTrainingJob; only train is put into another order for each epoch."""
    train = _stream("train", options.train, options)
    train["ShuffleConfig"] = {"Seed": options.shuffle_seed}
    return shared.training_request(
        options, [train, _stream("validation", options.validation, options)]
    )


def _stream(name: str, manifest: str, options: argparse.Namespace) -> shared.Request:
    """A channel of records: the image, its annotation and, with --metadata, the class names."""
    attributes = ["source-ref", options.annotations]
    if options.metadata:
        attributes.append(f"{options.annotations}-metadata")
    wanted = shared.channel(name, manifest, shared.RECORDIO, "Pipe")
    wanted["RecordWrapperType"] = "RecordIO"
    wanted["DataSource"]["S3DataSource"] |= {
        "S3DataType": "AugmentedManifestFile",
        "AttributeNames": attributes,
    }
    return wanted


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    parser.add_argument("--train", required=True, metavar="S3_URI", help="manifest of train")
    parser.add_argument("--validation", required=True, metavar="S3_URI")
    parser.add_argument("--annotations", required=True, help="the attribute that has the boxes")
    parser.add_argument(
        "--metadata", action="store_true", help="every line has ANNOTATIONS-metadata: send it too"
    )
    parser.add_argument("--shuffle-seed", type=int, default=1)
    return parser


def main() -> None:
    options = make_parser().parse_args()
    client = shared.make_client(options)
    shared.tell(client.create_training_job(**request(options)))


if __name__ == "__main__":
    main()
