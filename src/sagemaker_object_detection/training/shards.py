"""The records of a channel over all hosts: one data set that all have, or one of each host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator, gather_values

HOST_RECORDS = 2**40
"""Numbers that the records of one host may take; those of the next host follow."""


@dataclass(frozen=True)
class Shards:
    """How the records of a channel are numbered and called over all processes.

    Attributes:
        world: the processes.
        sharded: whether each host has records of its own.
        names: by host, of its records; empty where they are not known beforehand.
    """

    world: World
    sharded: bool
    names: Sequence[Sequence[str]] = field(default=(), repr=False)

    @property
    def several(self) -> bool:
        """Whether there are hosts with other records."""
        return self.sharded and len(self.world.hosts) > 1

    @property
    def start(self) -> int:
        """The number of this process's record 0 among those of all."""
        return self.world.host_rank * HOST_RECORDS if self.sharded else 0

    def name(self, own: Callable[[int], str], record: int) -> str:
        """What to call a record that has its number among those of all.

        Args:
            own: names of this process's records.
        """
        host, number = divmod(record, HOST_RECORDS)
        if not self.several or host == self.world.host_rank:
            return own(number)
        there = self.world.hosts[host]
        return self.names[host][number] if self.names else f"record {number} on {there}"


def find_shards(
    communicator: Communicator, sharded: bool, own: Callable[[int], str], count: int
) -> Shards:
    """Tell all processes how each host calls its records of a channel.

    Args:
        own: names of this process's records, of which there are `count`; 0 where it is not known.
    """
    world = communicator.world
    if not sharded or world.size == 1:
        return Shards(world, sharded)
    told = [own(record) for record in range(count)] if world.local_rank == 0 else []
    names = gather_values(communicator, told)[:: world.local_size]
    return Shards(world, sharded, names if all(names) else ())
