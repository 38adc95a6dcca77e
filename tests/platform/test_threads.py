"""Physical cores, from drawn-up systems."""

import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import threads
from sagemaker_object_detection.platform.errors import ClientError

PLAIN = {0: "0", 1: "1", 2: "2", 3: "3"}
PAIRS = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
CGROUP = "sys/fs/cgroup"


def _system(root: Path, siblings: Mapping[int, str], files: Mapping[str, str]) -> None:
    written = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text
        for cpu, text in siblings.items()
    }
    for name, text in {**written, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("siblings", "affinity", "cores"),
    [
        pytest.param(PLAIN, {0, 1, 2, 3}, 4, id="every processor is a core"),
        pytest.param(PAIRS, set(range(8)), 4, id="two threads a core"),
        pytest.param(PAIRS, {0, 1, 4, 5}, 2, id="bound to both threads of two cores"),
        pytest.param(PAIRS, {0, 1, 2}, 3, id="bound to one thread of each of three"),
        pytest.param(PAIRS, {7}, 1, id="bound to one"),
        pytest.param({}, {0, 1}, 2, id="a system that hides its topology"),
        pytest.param(PLAIN, {0, 9}, 2, id="a processor without an entry"),
    ],
)
def test_cores(siblings: Mapping[int, str], affinity: set[int], cores: int, tmp_path: Path) -> None:
    _system(tmp_path, siblings, {})
    assert threads.physical_cores(affinity, tmp_path) == cores


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        pytest.param({}, None, id="no control groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "200000 100000"},
            2.0,
            id="version 2 in a container",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": "max 100000"},
            None,
            id="version 2 without a limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                f"{CGROUP}/a/cpu.max": "150000 100000",
                f"{CGROUP}/a/b/cpu.max": "max 100000",
            },
            1.5,
            id="version 2: the group around it is limited",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                f"{CGROUP}/a/cpu.max": "400000 100000",
                f"{CGROUP}/a/b/cpu.max": "300000 100000",
            },
            3.0,
            id="version 2: the smaller counts",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/docker/abc", f"{CGROUP}/cpu.max": "200000 100000"},
            2.0,
            id="version 2: the host's path leads nowhere in here",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/abc",
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000",
                f"{CGROUP}/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            2.5,
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc",
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "50000",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000",
            },
            0.5,
            id="version 1 mounted as cpu, path of the host",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "1:cpu:/",
                f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1",
                f"{CGROUP}/cpu/cpu.cfs_period_us": "100000",
            },
            None,
            id="version 1 without a limit",
        ),
        pytest.param(
            {"proc/self/cgroup": "2:cpuset:/\n0::/", f"{CGROUP}/cpuset/cpu.max": "1 1"},
            None,
            id="another controller's folder is not looked at",
        ),
    ],
)
def test_quota(files: Mapping[str, str], quota: float | None, tmp_path: Path) -> None:
    _system(tmp_path, {}, files)
    assert threads.cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        pytest.param("200000 100000", 2, id="fewer than the cores"),
        pytest.param("250000 100000", 2, id="a third thread would wait for its share"),
        pytest.param("50000 100000", 1, id="half a processor still needs a thread"),
        pytest.param("900000 100000", 4, id="more than the cores"),
        pytest.param("max 100000", 4, id="none"),
    ],
)
def test_the_quota_limits_the_cores(limit: str, cores: int, tmp_path: Path) -> None:
    _system(tmp_path, PAIRS, {"proc/self/cgroup": "0::/", f"{CGROUP}/cpu.max": limit})
    assert threads.physical_cores(set(range(8)), tmp_path) == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux tells what it may use")
def test_this_machine_has_no_more_cores_than_processors() -> None:
    assert 1 <= threads.physical_cores() <= len(os.sched_getaffinity(0))


@pytest.fixture
def without_mxnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    monkeypatch.setattr(threads, "physical_cores", lambda: 8)


@pytest.mark.usefixtures("without_mxnet")
@pytest.mark.parametrize(
    ("environ", "processes", "count", "after"),
    [
        pytest.param({}, 1, 8, {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "passive"}, id="unset"),
        pytest.param(
            {}, 3, 2, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}, id="shared by three"
        ),
        pytest.param(
            {}, 9, 1, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}, id="too many share"
        ),
        pytest.param(
            {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"},
            1,
            3,
            {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"},
            id="the user's choice stays",
        ),
        pytest.param(
            {"OMP_NUM_THREADS": "4,2"},
            1,
            4,
            {"OMP_NUM_THREADS": "4,2", "OMP_WAIT_POLICY": "passive"},
            id="a list for nested loops stays",
        ),
        pytest.param(
            {"OMP_NUM_THREADS": "", "OMP_WAIT_POLICY": ""},
            1,
            8,
            {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "passive"},
            id="empty counts as unset",
        ),
    ],
)
def test_set_threads(
    environ: dict[str, str], processes: int, count: int, after: dict[str, str]
) -> None:
    assert threads.set_threads(environ, processes) == count
    assert environ == after


@pytest.mark.usefixtures("without_mxnet")
@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_bad_choice_of_the_user_is_refused(given: str) -> None:
    with pytest.raises(ClientError, match="OMP_NUM_THREADS"):
        threads.set_threads({"OMP_NUM_THREADS": given})


@pytest.mark.usefixtures("without_mxnet")
def test_omp_places_is_warned_about_and_left(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"OMP_PLACES": "cores"}
    threads.set_threads(environ)
    assert environ["OMP_PLACES"] == "cores"
    assert "OMP_PLACES" in caplog.text


def test_it_is_too_late_once_mxnet_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mxnet", types.ModuleType("mxnet"))
    environ: dict[str, str] = {}
    with pytest.raises(RuntimeError, match="before mxnet"):
        threads.set_threads(environ)
    assert environ == {}
