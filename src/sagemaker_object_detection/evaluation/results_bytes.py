"""Results on their way from one process to another, and those of several as one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder


def pack_results(results: Results) -> bytes:
    """Results as NumPy's .npz, without pickled objects."""
    stream = io.BytesIO()
    np.savez(stream, **asdict(results))
    return stream.getvalue()


def join_results(parts: Sequence[bytes]) -> Results:
    """The results of several processes as one, in the order of their records.

    Args:
        parts: of pack_results; no record is in two of them.
    """
    loaded = []
    for part in parts:
        with np.load(io.BytesIO(part), allow_pickle=False) as file:
            loaded.append(Results(**{name: file[name] for name in file.files}))
    records = np.concatenate([results.records for results in loaded])
    images = [(results, image) for results in loaded for image in range(len(results))]
    builder = ResultsBuilder()
    for position in np.argsort(records, kind="stable"):
        results, image = images[position]
        builder.add(
            int(records[position]),
            results.sizes[image],
            results.found(image),
            results.labels(image),
        )
    return builder.build()
