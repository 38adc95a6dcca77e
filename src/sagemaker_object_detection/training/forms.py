"""What kvstore and Horovod need around the processes that train: helpers, and environments."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from sagemaker_object_detection.platform.python_process import with_package
from sagemaker_object_detection.platform.supervisor import Supervisor
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.platform.world import World

log = logging.getLogger(__name__)

_NODE = "sagemaker_object_detection.training.kvstore_node"
_GLOO_SECONDS = "120"
"""Longer than a process may be silent, so that it is told who hangs, not who missed him."""


def shared_environment(environ: Mapping[str, str], world: World, interface: str) -> dict[str, str]:
    """What all processes of this host have in common."""
    named = {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}
    shared = with_package(environ) | named
    set_threads(shared, processes=world.local_size)
    return shared | {"HOROVOD_GLOO_IFACE": interface}


def start_kvstore(
    supervisor: Supervisor, shared: dict[str, str], world: World, facts: list[dict[str, Any]]
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
    command = [sys.executable, "-W", "ignore", "-m", _NODE]
    if world.is_main:
        log.info("The kvstore's scheduler listens at port %d, its server at %d.", port, server_port)
        supervisor.add_helper(
            "the kvstore's scheduler", command, common | {"DMLC_ROLE": "scheduler"}
        )
    supervisor.add_helper(
        "the kvstore's server",
        command,
        common | {"DMLC_ROLE": "server", "PORT": str(server_port)},
    )
    return common | {"DMLC_ROLE": "worker", "PORT": str(worker_port)}


def start_rendezvous(world: World, facts: list[dict[str, Any]]) -> None:
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
    shared: dict[str, str], world: World, facts: list[dict[str, Any]], local_rank: int
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
