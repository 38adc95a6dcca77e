"""Detect on every picture of a folder in S3; a.jpg gets a.jpg.out.

python docs/sagemaker/batch_transform.py --role ARN --image URI --model s3://.../model.tar.gz \
    --pictures s3://BUCKET/pictures/ --output s3://BUCKET/detections/
"""

from __future__ import annotations

import argparse

import shared


def requests(options: argparse.Namespace) -> tuple[shared.Request, shared.Request]:
    """CreateModel and CreateTransformJob.

    MaxConcurrentTransforms and MaxPayloadInMB are left out: the container tells the platform what
    it can do.
    """
    source = {"S3DataType": "S3Prefix", "S3Uri": options.pictures}
    job = {
        "TransformJobName": options.name,
        "ModelName": options.name,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": shared.IMAGES,
            "SplitType": "None",
            "CompressionType": "None",
        },
        "TransformOutput": {"S3OutputPath": options.output, "Accept": options.accept},
        "TransformResources": {
            "InstanceType": options.instance_type,
            "InstanceCount": options.instance_count,
        },
    }
    return shared.model_request(options), job


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_model_options(parser)
    parser.add_argument("--pictures", required=True, metavar="S3_URI")
    parser.add_argument("--output", required=True, metavar="S3_URI")
    parser.add_argument("--accept", default="application/json", help="the form, as of an endpoint")
    parser.add_argument("--instance-type", default="ml.c5.xlarge")
    parser.add_argument("--instance-count", type=int, default=1)
    return parser


def main() -> None:
    options = make_parser().parse_args()
    client = shared.make_client(options)
    model, job = requests(options)
    shared.tell(client.create_model(**model))
    shared.tell(client.create_transform_job(**job))


if __name__ == "__main__":
    main()
