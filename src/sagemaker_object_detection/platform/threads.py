"""How many threads the numerical libraries should use, decided before they are loaded.

MXNet takes half of the processors it sees, which halves its speed where a virtual CPU is a whole
core, and knows nothing of a container's CPU quota. We count physical cores and set
`OMP_NUM_THREADS`. `OMP_PLACES` must stay unset: it makes MXNet many times slower
(apache/mxnet issue 14087). `OMP_WAIT_POLICY=passive` keeps a busy neighbour on the same cores
from stalling tiny operations, since threads that wait then sleep and do not spin.
"""

import logging
import os
import sys
from collections.abc import Collection, MutableMapping
from pathlib import Path

from sagemaker_object_detection.platform.control_groups import folders, text
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.kinds import Whole

log = logging.getLogger(__name__)

_ROOT = Path("/")
_SIBLINGS = "thread_siblings_list"


def set_threads(environ: MutableMapping[str, str], processes: int = 1) -> int:
    """Set `OMP_NUM_THREADS` and `OMP_WAIT_POLICY` where the user has not; return the threads.

    environ: `os.environ`, through which libraries see the change. processes: how many processes
    share the machine's cores evenly.
    Raises RuntimeError when MXNet is loaded already, since it reads them only once, and
    ClientError when the user's OMP_NUM_THREADS is not a number.
    """
    if "mxnet" in sys.modules:
        raise RuntimeError("set_threads must be called before mxnet is imported")
    if environ.get("OMP_PLACES"):
        log.warning("OMP_PLACES is set, which makes MXNet many times slower. Unset it.")
    if not environ.get("OMP_WAIT_POLICY"):
        environ["OMP_WAIT_POLICY"] = "passive"
    given = environ.get("OMP_NUM_THREADS")
    if given:
        return _given_threads(given)
    threads = max(1, physical_cores() // processes)
    environ["OMP_NUM_THREADS"] = str(threads)
    return threads


def _given_threads(given: str) -> int:
    """The first level of OMP_NUM_THREADS, which may be a list for nested loops."""
    try:
        return Whole(1).parse(given.split(",")[0].strip())
    except ValueError as error:
        raise ClientError(
            f"The environment variable OMP_NUM_THREADS is {given!r}, which {error}. Give a whole "
            "number >= 1, or unset it to have one thread for every core."
        ) from None


def physical_cores(affinity: Collection[int] | None = None, root: Path = _ROOT) -> int:
    """The physical cores that this process may keep busy, at least 1.

    affinity: the logical processors it may run on (default: asked from the system). Those that
    are threads of one core count once; a CPU quota of the control group, rounded down, is the
    upper limit. root: where /sys and /proc are looked for.
    """
    cores = len({_core(cpu, root) for cpu in (_affinity() if affinity is None else affinity)})
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def _affinity() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _core(cpu: int, root: Path) -> str:
    """What the threads of one core have in common; the processor itself if the system hides it."""
    file = root / "sys" / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology" / _SIBLINGS
    return text(file) or str(cpu)


def cpu_quota(root: Path = _ROOT) -> float | None:
    """The processors' worth of time that the control groups grant; None if there is no limit.

    The smallest of the process's own group and the groups around it counts.
    """
    quotas = [
        quota for folder in folders("cpu", root) if (quota := _group_quota(folder)) is not None
    ]
    return min(quotas, default=None)


def _group_quota(folder: Path) -> float | None:
    quota, _, period = text(folder / "cpu.max").partition(" ")
    if not quota:
        quota = text(folder / "cpu.cfs_quota_us")
        period = text(folder / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit():
        return None
    return int(quota) / int(period)
