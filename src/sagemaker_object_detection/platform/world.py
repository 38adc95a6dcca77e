"""How a job's training is spread over processes, decided from its hyperparameters and hosts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job

log = logging.getLogger(__name__)

NONE, KVSTORE, HOROVOD = "none", "kvstore", "horovod"
_DIST_ASYNC = "dist_async"

CPU_DEVICES_VARIABLE = "OBJECT_DETECTION_CPU_DEVICES"


@dataclass(frozen=True)
class World:
    """A process among those that train together.

    Attributes:
        form: how gradients come together: none (one process; of its devices by MXNet's kvstore
            `device`), kvstore (through MXNet's parameter servers) or horovod.
        hosts: by rank of the first of their processes.
        local_size: processes on each host.
        rank: of this process among all.
    """

    form: str = NONE
    hosts: tuple[str, ...] = field(default=("algo-1",))
    local_size: int = 1
    rank: int = 0

    @property
    def size(self) -> int:
        """Processes of the job."""
        return len(self.hosts) * self.local_size

    @property
    def local_rank(self) -> int:
        """Of this process among those of its host."""
        return self.rank % self.local_size

    @property
    def host_rank(self) -> int:
        """Of this host."""
        return self.rank // self.local_size

    @property
    def is_main(self) -> bool:
        """Whether it is this process that writes the model and the reports."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.hosts[self.host_rank]}"

    def name_of_host(self, host_rank: int) -> str:
        """What to call a host in messages: by the ranks on it."""
        first, host = host_rank * self.local_size, self.hosts[host_rank]
        if self.local_size == 1:
            return f"rank {first} on {host}"
        return f"ranks {first} to {first + self.local_size - 1} on {host}"

    def as_json(self) -> str:
        """Text that from_json reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> World:
        """The world that as_json wrote."""
        values = json.loads(text)
        return cls(**{**values, "hosts": tuple(values["hosts"])})


def cpu_devices(environ: Mapping[str, str]) -> int:
    """CPU contexts of MXNet that stand for devices where there is no GPU; one, unless a test of
    the code for several devices says more.
    """
    return int(environ.get(CPU_DEVICES_VARIABLE) or 1)


def make_world(job: Job, devices: int) -> World:
    """How this job is spread; the rank is that of the first process of this host.

    auto: one process does without; several hosts share gradients by kvstore dist_sync.

    Args:
        devices: GPUs of this host, 1 where it has none.

    Raises:
        ClientError: hyperparameters that contradict each other or do not fit the devices.
    """
    given = job.hyperparameters
    _check(given)
    horovod = given.distribution == HOROVOD and (len(job.hosts) > 1 or devices > 1)
    local_size = devices if horovod else 1
    require_an_image_each(given.mini_batch_size, devices, "GPUs")
    rank = job.hosts.index(job.current_host) * local_size
    if horovod:
        return World(HOROVOD, job.hosts, local_size, rank)
    if len(job.hosts) == 1:
        return World(hosts=job.hosts)
    if given.kv_store == _DIST_ASYNC:
        log.warning(
            "kv_store is dist_async: this container runs it in step, as dist_sync, which learns "
            "more from the same images. Set dist_sync to be rid of this line."
        )
    return World(KVSTORE, job.hosts, 1, rank)


def require_an_image_each(mini_batch_size: int, devices: int, what: str = "devices") -> None:
    """Refuse a batch that is too small for the devices of a machine, which share it.

    Raises:
        ClientError: it has fewer images than there are devices, called `what`.
    """
    if mini_batch_size < devices:
        raise ClientError(
            f"Hyperparameter mini_batch_size is {mini_batch_size} and this machine has {devices} "
            f"{what}, which share a batch. Set it to {devices} or more."
        )


def _check(given: Hyperparameters) -> None:
    horovod = given.distribution == HOROVOD
    if given.gradient_compression != NONE and not horovod:
        raise ClientError(
            f"Hyperparameter gradient_compression: {given.gradient_compression} needs "
            "distribution=horovod. Set that, or leave gradient_compression out."
        )
