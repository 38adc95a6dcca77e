"""Starting a job of several processes: the hosts find each other, then each starts its own.

This is the supervisor's side, and loads no numerical library. Every host runs `./train`; nothing
needs ssh, MPI or a shared file system.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sagemaker_object_detection import __version__
from sagemaker_object_detection.platform.errors import (
    ClientError,
    JobError,
    PlatformError,
    as_job_error,
)
from sagemaker_object_detection.platform.failure_message import by
from sagemaker_object_detection.platform.job import Job, JobHosts
from sagemaker_object_detection.platform.network import (
    HUB_PORT,
    find_interface,
    free_ports,
    interface_address,
)
from sagemaker_object_detection.platform.peer import Member
from sagemaker_object_detection.platform.process_group import Left, ProcessGroup
from sagemaker_object_detection.platform.python_process import last_words, with_package
from sagemaker_object_detection.platform.rendezvous import join
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.supervisor import Supervisor
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.platform.world import HOROVOD, KVSTORE, World

log = logging.getLogger(__name__)

Facts = list[dict[str, Any]]
"""By host: its address, its ports, and what has to be equal."""

_PYTHON = (sys.executable, "-W", "ignore")
_WORKER = "sagemaker_object_detection.training.worker"
_NODE = "sagemaker_object_detection.training.kvstore_node"
_GLOO_SECONDS = "120"
"""Longer than a process may be silent, so that it is told who hangs, not who missed him."""
_PORTS_A_HOST = 3
_TELL_PATIENCE = 30.0


def count_gpus(environ: Mapping[str, str]) -> int:
    """GPUs that MXNet sees, asked in a process of its own, since this one must not load it."""
    command = [*_PYTHON, "-c", "import mxnet; print(mxnet.context.num_gpus())"]
    answer = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    words = answer.stdout.split()
    if answer.returncode or not words:
        raise PlatformError(
            f"MXNet cannot be loaded: {last_words(answer.stderr)}. The log of "
            "`python -c 'import mxnet'` tells more."
        )
    return int(words[-1])


def launch(job: Job, world: World, environ: Mapping[str, str], stop: StopRequest) -> None:
    """Run this host's part of a job to its end; raises what failed first, on whichever host."""
    if world.form == HOROVOD and importlib.util.find_spec("horovod") is None:
        raise ClientError(
            "Hyperparameter distribution is horovod, and Horovod is not installed here ('make "
            "horovod' builds it). Leave distribution out: kvstore does the same."
        )
    several = len(world.hosts) > 1
    interface = find_interface(job.network_interface_name) if several else "lo"
    address = interface_address(interface)
    supervisor = Supervisor(world, stop)
    members = [Member(i, host, world.name_of_host(i)) for i, host in enumerate(world.hosts)]
    if several:
        rank, key, on_failure = world.host_rank, _key(environ, world.hosts), supervisor.on_failure
        try:
            hosts = join(
                members, rank, address, HUB_PORT, key, on_failure, on_stop=supervisor.on_stop
            )
        except PlatformError as error:  # they did not all come, or one of them cannot begin
            raise supervisor.told() or error from error
        except SystemExit:
            tell_hosts((job.hosts, job.current_host, interface), None, environ)
            raise
    else:
        hosts = ProcessGroup(members[0], {}, supervisor.on_failure)
    where = f"{len(world.hosts)} hosts" if several else "1 host"
    how = "horovod" if world.form == HOROVOD else "kvstore dist_sync"
    log.info(
        f"{world.size} processes on {where} train together by {how}; this host is "
        f"{members[world.host_rank]} at {address}."
    )
    try:
        facts = _exchange(hosts, job, world, address)
        shared = shared_environment(environ, world, interface)
        if world.form == KVSTORE:
            environs = [start_kvstore(supervisor, shared, world, facts)]
        else:
            start_rendezvous(world, facts)
            ranks = range(world.local_size)
            environs = [horovod_environment(shared, world, facts, rank) for rank in ranks]
        supervisor.run(hosts, [*_PYTHON, "-m", _WORKER], environs)
    except SystemExit:  # SIGTERM before training
        hosts.stop()
        hosts.close()
        raise
    except Left as left:
        if supervisor.stopping():
            hosts.close()
            raise SystemExit(0) from left
        hosts.fail(left)
        raise
    except KeyboardInterrupt:
        hosts.fail(by(members[world.host_rank], PlatformError("it was interrupted by Ctrl-C.")))
        raise
    except Exception as error:
        hosts.fail(by(members[world.host_rank], as_job_error(error)))
        failure = supervisor.told()
        if failure is None or failure is error:
            raise
        raise failure from error
    finally:
        supervisor.end_children()


def tell_hosts(job: JobHosts, error: JobError | None, environ: Mapping[str, str]) -> None:
    """Let the other hosts know that this one will not begin, so that they do not wait for it.

    `error` is why; None when it was asked to stop.
    """
    hosts, current, interface = job
    if len(hosts) == 1:
        return
    rank, key = hosts.index(current), _key(environ, hosts)
    members = [Member(i, host) for i, host in enumerate(hosts)]
    ended = threading.Event()
    try:
        address = interface_address(find_interface(interface))
        group = join(
            members, rank, address, HUB_PORT, key, lambda error: ended.set(), _TELL_PATIENCE
        )
    except (JobError, OSError) as unreachable:
        log.warning("The other hosts could not be told: %s", unreachable)
        return
    if error is None:
        group.stop()
        group.close()
        return
    group.fail(by(members[rank], error))
    ended.wait(_TELL_PATIENCE)


def _key(environ: Mapping[str, str], hosts: Sequence[str]) -> bytes:
    """What keeps the processes of two jobs apart; it is no secret on the hosts' own network."""
    job = environ.get("TRAINING_JOB_ARN") or environ.get("TRAINING_JOB_NAME") or ""
    return hashlib.sha256(f"{job}\n{' '.join(hosts)}".encode()).digest()


def _exchange(hosts: ProcessGroup, job: Job, world: World, address: str) -> Facts:
    """Every host's facts, by rank. Raises ClientError: the hosts do not have the same job."""
    ours = {
        "address": address,
        "ports": free_ports(address, _PORTS_A_HOST),
        "version": __version__,
        "processes": world.local_size,
        "hyperparameters": job.hyperparameters.as_strings(),
        "channels": {n: f"{c.form} {c.distribution}" for n, c in job.channels.items()},
    }
    facts = [json.loads(part) for part in hosts.gather(json.dumps(ours).encode())]
    for other, host in zip(facts, world.hosts, strict=True):
        for name in ("version", "processes", "hyperparameters", "channels"):
            if other[name] != facts[0][name]:
                raise ClientError(
                    f"{host} and {world.hosts[0]} do not have the same job: {name} differ "
                    f"({_difference(other[name], facts[0][name])}). Give all hosts the same image "
                    "and configuration, and instances of one kind."
                )
    return facts


def _difference(one: object, other: object) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        names = [name for name in one | other if one.get(name) != other.get(name)]
        return ", ".join(f"{name}: {one.get(name)!r}, {other.get(name)!r}" for name in names)
    return f"{one}, {other}"


def shared_environment(environ: Mapping[str, str], world: World, interface: str) -> dict[str, str]:
    """What all processes of this host have in common."""
    named = {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}
    shared = with_package(environ) | named
    set_threads(shared, processes=world.local_size)
    return shared | {"HOROVOD_GLOO_IFACE": interface}


def start_kvstore(
    supervisor: Supervisor, shared: dict[str, str], world: World, facts: Facts
) -> dict[str, str]:
    """Start a parameter server here, and the scheduler on the first host; the worker's environment.

    MXNet reads these variables, named for its forerunner DMLC, when it is imported.
    """
    port, server_port, worker_port = facts[world.host_rank]["ports"]
    common = shared | {
        "DMLC_PS_ROOT_URI": facts[0]["address"],
        "DMLC_PS_ROOT_PORT": str(facts[0]["ports"][0]),
        "DMLC_NUM_WORKER": str(world.size),
        "DMLC_NUM_SERVER": str(len(world.hosts)),
        "DMLC_NODE_HOST": facts[world.host_rank]["address"],
    }
    command = [*_PYTHON, "-m", _NODE]
    if world.is_main:
        log.info("The kvstore's scheduler listens at port %d, its server at %d.", port, server_port)
        scheduler = common | {"DMLC_ROLE": "scheduler"}
        supervisor.add_helper("the kvstore's scheduler", command, scheduler)
    server = common | {"DMLC_ROLE": "server", "PORT": str(server_port)}
    supervisor.add_helper("the kvstore's server", command, server)
    return common | {"DMLC_ROLE": "worker", "PORT": str(worker_port)}


def start_rendezvous(world: World, facts: Facts) -> None:
    """On the first host: the server where Horovod's processes tell each other their addresses."""
    if not world.is_main:
        return
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    class Quiet(RendezvousHandler):
        def log_message(self, *words: object) -> None:
            """Nothing, where HTTPServer would write every request to stderr."""

    plan = ",".join(f"{host}:{world.local_size}" for host in world.hosts)
    server = RendezvousHTTPServer((facts[0]["address"], facts[0]["ports"][0]), Quiet, 0)
    server.init(get_host_assignments(parse_hosts(plan), world.size))
    run: Callable[[], None] = server.serve_forever
    threading.Thread(target=run, daemon=True).start()


def horovod_environment(
    shared: dict[str, str], world: World, facts: Facts, local_rank: int
) -> dict[str, str]:
    """What Horovod reads in one process."""
    return shared | {
        "HOROVOD_GLOO_TIMEOUT_SECONDS": _GLOO_SECONDS,
        "HOROVOD_HOSTNAME": world.hosts[world.host_rank],
        "HOROVOD_RANK": str(world.rank + local_rank),
        "HOROVOD_SIZE": str(world.size),
        "HOROVOD_LOCAL_RANK": str(local_rank),
        "HOROVOD_LOCAL_SIZE": str(world.local_size),
        "HOROVOD_CROSS_RANK": str(world.host_rank),
        "HOROVOD_CROSS_SIZE": str(len(world.hosts)),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": facts[0]["address"],
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(facts[0]["ports"][0]),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }
