"""Metrics for Prometheus, over all workers.

Each worker writes its numbers to files of its own in a folder that all share; whichever worker is
asked adds the files up. Counts of a worker that has died stay, its share of a queue does not.

prometheus_client decides when it is first imported whether its numbers live in files, by the
variable FOLDER_VARIABLE; so that import stands inside functions here.
"""

from __future__ import annotations

from pathlib import Path

from sagemaker_object_detection.serving.trace import STAGES, Trace

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

INVOCATIONS = "/invocations"
INVOKE = "/models/<model:name>/invoke"
"""The routes that images are sent to; the second in a multi-model endpoint."""

OTHER = "other"
"""The path of what goes to no path of ours."""

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The numbers of this process, and the page with those of all.

    folder: that of FOLDER_VARIABLE; None: this process is the only one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._folder = folder
        self._own = own = CollectorRegistry()
        self._requests = Counter(
            "object_detection_requests",
            "Requests that were answered, by path and HTTP status.",
            ("path", "code"),
            registry=own,
        )
        self._request_seconds = Histogram(
            "object_detection_request_seconds",
            "Time to answer POST /invocations, whatever the answer was.",
            buckets=_SECONDS,
            registry=own,
        )
        self._stage_seconds = Histogram(
            "object_detection_stage_seconds",
            "Time of the stages of POST /invocations, for requests that reached them.",
            ("stage",),
            buckets=_SECONDS,
            registry=own,
        )
        for stage in STAGES:
            self._stage_seconds.labels(stage)  # is there from the beginning
        self._batch_sizes = Histogram(
            "object_detection_batch_size",
            "Images in a run of the model.",
            buckets=_BATCHES,
            registry=own,
        )
        self._queue_length = Gauge(
            "object_detection_queue_length",
            "Images that wait for the model.",
            multiprocess_mode="livesum",
            registry=own,
        )

    def answered(self, trace: Trace, path: str, status: int) -> None:
        """Count a request; path is a route of ours, not what the client wrote."""
        self._requests.labels(path, str(status)).inc()
        if path not in (INVOCATIONS, INVOKE):
            return
        if trace.total is not None:
            self._request_seconds.observe(trace.total)
        # A copy: of a request that was given up, the model's thread may be noting something yet.
        for stage, seconds in tuple(trace.seconds.items()):
            self._stage_seconds.labels(stage).observe(seconds)

    def queued(self, change: int) -> None:
        """So many more images (fewer if negative) wait."""
        self._queue_length.inc(change)

    def ran(self, batch: int) -> None:
        """The model ran on so many images at once."""
        self._batch_sizes.observe(batch)

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type, in Prometheus's text form or OpenMetrics, as Accept asks."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._own
        if self._folder is not None:
            registry = CollectorRegistry()
            # Typed in no release up to 0.26.
            MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


def forget_worker(folder: Path, pid: int) -> None:
    """A worker has ended: what it had waiting counts no more."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for path in folder.glob(f"*_{pid}.db"):
        if path.stat().st_size == 0:  # killed while it made the file, which no one could read
            path.unlink()
