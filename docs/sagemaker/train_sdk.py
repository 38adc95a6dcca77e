"""Train, and deploy what was trained, by the SageMaker Python SDK, version 2.

pip install "sagemaker>=2,<3"
python docs/sagemaker/train_sdk.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205 --deploy ml.c5.xlarge

With --instance-type local the container runs here, by docker, as the SDK's local mode has it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

import shared

# Otherwise the SDK reports its use to its makers, even where nothing else is sent.
CONFIG = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}


def make_estimator(options: argparse.Namespace, session: Any) -> Any:  # noqa: ANN401
    """The SDK's Estimator with the hyperparameters, metrics and places of train.py."""
    from sagemaker.estimator import Estimator

    wanted = shared.training_request(options, shared.data_channels(options))
    return Estimator(
        image_uri=options.image,
        role=options.role,
        instance_count=options.instance_count,
        instance_type=options.instance_type,
        volume_size=options.volume_size,
        max_run=wanted["StoppingCondition"]["MaxRuntimeInSeconds"],
        hyperparameters=wanted["HyperParameters"],
        metric_definitions=shared.METRIC_DEFINITIONS,
        output_path=wanted["OutputDataConfig"]["S3OutputPath"],
        debugger_hook_config=False,
        disable_profiler=True,
        sagemaker_session=session,
    )


def make_inputs(options: argparse.Namespace) -> dict[str, Any]:
    """The channels of train.py as the SDK has them, by name."""
    from sagemaker.inputs import TrainingInput

    wanted = shared.training_request(options, shared.data_channels(options))
    return {
        channel["ChannelName"]: TrainingInput(
            channel["DataSource"]["S3DataSource"]["S3Uri"], content_type=channel.get("ContentType")
        )
        for channel in wanted["InputDataConfig"]
    }


def request(options: argparse.Namespace) -> shared.Request:
    """What the SDK would send: a pipeline's session collects requests and sends none."""
    import boto3
    from sagemaker.workflow.pipeline_context import PipelineSession
    from sagemaker.workflow.steps import TrainingStep

    boto_session = boto3.Session(region_name=options.region)
    session = PipelineSession(
        boto_session=boto_session, default_bucket=options.bucket, sagemaker_config=CONFIG
    )
    collected = make_estimator(options, session).fit(make_inputs(options))
    wanted: shared.Request = TrainingStep(options.name, step_args=collected).arguments
    return wanted


def run(options: argparse.Namespace) -> None:
    import boto3
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.local import LocalSession
    from sagemaker.serializers import IdentitySerializer
    from sagemaker.session import Session

    is_local = options.instance_type.startswith("local")
    kind = LocalSession if is_local else Session
    session = kind(boto3.Session(region_name=options.region), sagemaker_config=CONFIG)
    estimator = make_estimator(options, session)
    estimator.fit(make_inputs(options), job_name=options.name)
    if options.deploy:
        predictor = estimator.deploy(
            initial_instance_count=1,
            instance_type=options.deploy,
            endpoint_name=options.name,
            model_name=options.name,
            serializer=IdentitySerializer(shared.IMAGES),
            deserializer=JSONDeserializer(),
        )
        print(predictor.endpoint_name)


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    shared.add_form(parser)
    parser.add_argument("--deploy", metavar="INSTANCE_TYPE", help="an endpoint after training")
    return parser


def main() -> None:
    options = make_parser().parse_args()
    if options.print:
        with contextlib.redirect_stdout(sys.stderr):  # where the SDK logs
            wanted = request(options)
        print(json.dumps({"create_training_job": wanted}, indent=2))
    else:
        run(options)


if __name__ == "__main__":
    main()
