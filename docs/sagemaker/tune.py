"""Look for the best hyperparameters: many training jobs, each with others.

python docs/sagemaker/tune.py --role ARN --image URI --bucket BUCKET \
    --num-classes 3 --num-training-samples 205 --jobs 20 --at-a-time 2

A hyperparameter that is given with -H is not searched for.
"""

from __future__ import annotations

import argparse

import shared

OBJECTIVE = "validation:mAP"
# Those of the built-in algorithm; narrower ones find more with fewer jobs.
CONTINUOUS = {
    "learning_rate": ("0.000001", "0.5", "Logarithmic"),
    "momentum": ("0.0", "0.999", "Linear"),
    "weight_decay": ("0.0", "0.999", "Linear"),
}
INTEGER = {"mini_batch_size": ("8", "64", "Linear")}
CATEGORICAL = {"optimizer": ["sgd", "adam", "rmsprop", "adadelta"]}


def request(options: argparse.Namespace) -> shared.Request:
    """CreateHyperParameterTuningJob around a training job."""
    training = shared.training_request(options, shared.data_channels(options))
    del training["TrainingJobName"]
    given = training.pop("HyperParameters")
    return {
        "HyperParameterTuningJobName": options.name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": OBJECTIVE},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": options.jobs,
                "MaxParallelTrainingJobs": options.at_a_time,
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": _ranges(CONTINUOUS, given),
                "IntegerParameterRanges": _ranges(INTEGER, given),
                "CategoricalParameterRanges": [
                    {"Name": name, "Values": values}
                    for name, values in CATEGORICAL.items()
                    if name not in given
                ],
            },
            "TrainingJobEarlyStoppingType": "Auto",
        },
        "TrainingJobDefinition": {**training, "StaticHyperParameters": given},
    }


def _ranges(table: dict[str, tuple[str, str, str]], given: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}
        for name, (low, high, scaling) in table.items()
        if name not in given
    ]


def make_parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    shared.add_training_options(parser)
    shared.add_form(parser)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--at-a-time", type=int, default=2)
    return parser


def main() -> None:
    options = make_parser().parse_args()
    client = shared.make_client(options)
    shared.tell(client.create_hyper_parameter_tuning_job(**request(options)))


if __name__ == "__main__":
    main()
