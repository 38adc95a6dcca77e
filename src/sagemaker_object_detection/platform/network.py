"""The network that the hosts of a job share: this host's address on it, and the ports used there.

Everything listens on the address of the interface that resourceconfig.json names, and on ports of
PORTS. Horovod's connections for gradients (Gloo, NCCL) are the exception: they bind to that
interface too, but take any free port of the system's.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
from pathlib import Path

from sagemaker_object_detection.platform.errors import PlatformError

log = logging.getLogger(__name__)

PORTS = range(29400, 29500)
"""Ports of a distributed job, on every host; a firewall between the hosts has to let them pass."""

HUB_PORT = PORTS[0]
"""Where the first host waits for the others; the one port that all know beforehand."""

_SIOCGIFADDR = 0x8915
_ROUTES = Path("/proc/net/route")


def find_interface(name: str) -> str:
    """The named interface if it exists, otherwise the one of the default route.

    The local mode of the SageMaker SDK names ethwe, which its containers do not have. Without a
    default route the name stays, and interface_address refuses it.
    """
    if name in (existing for _, existing in socket.if_nameindex()):
        return name
    rows = [line.split() for line in _ROUTES.read_text(encoding="ascii").splitlines()[1:]]
    # Columns: interface, destination, gateway, flags, two counts, metric, mask.
    default = [(int(row[6]), row[0]) for row in rows if int(row[1], 16) == int(row[7], 16) == 0]
    if not default:
        return name
    _, found = min(default)
    log.warning(
        "Network interface: %s, which has the default route. %s, the network_interface_name of "
        "resourceconfig.json, does not exist.",
        found,
        name,
    )
    return found


def interface_address(name: str) -> str:
    """The IPv4 address of a network interface.

    Raises:
        PlatformError: there is no such interface, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", name.encode()[:15])
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
        except OSError as error:
            there = ", ".join(other for _, other in socket.if_nameindex())
            raise PlatformError(
                f"The network interface {name!r} has no IPv4 address ({error.strerror}); there "
                f"are {there}. resourceconfig.json names it as network_interface_name."
            ) from error
    return socket.inet_ntoa(answer[20:24])


def free_ports(address: str, count: int) -> list[int]:
    """Ports of PORTS, without HUB_PORT, on which nothing listens at this address.

    Raises:
        PlatformError: so many are not free.
    """
    found: list[int] = []
    for port in PORTS[1:]:
        if len(found) == count:
            break
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise PlatformError(
            f"Of the ports {PORTS[1]} to {PORTS[-1]} at {address} only {len(found)} are free and "
            f"{count} are needed. End what else listens there."
        )
    return found
