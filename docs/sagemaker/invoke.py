"""Ask an endpoint what is in pictures; each answer is a line of JSON.

python docs/sagemaker/invoke.py --name NAME --custom "threshold=0.4;classes=dog" a.jpg b.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import shared


def request(options: argparse.Namespace, picture: Path) -> shared.Request:
    """InvokeEndpoint for one picture."""
    wanted: shared.Request = {
        "EndpointName": options.name,
        "ContentType": shared.IMAGES,
        "Accept": options.accept,
        "Body": picture.read_bytes(),
    }
    if options.custom:
        wanted["CustomAttributes"] = options.custom
    if options.target_model:
        wanted["TargetModel"] = options.target_model
    return wanted


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__, made=False)
    parser.add_argument("--accept", default="application/jsonlines")
    parser.add_argument("--custom", help="custom attributes: threshold, top_k, classes")
    parser.add_argument("--target-model", help="of a multi-model endpoint: the path below --models")
    parser.add_argument("pictures", nargs="+", type=Path)
    return parser


def main() -> None:
    options = make_parser().parse_args()
    client = shared.make_client(options, "sagemaker-runtime")
    for picture in options.pictures:
        answer = client.invoke_endpoint(**request(options, picture))
        if answer:
            print(answer["Body"].read().decode().strip())


if __name__ == "__main__":
    main()
