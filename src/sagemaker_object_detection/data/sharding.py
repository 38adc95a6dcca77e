"""Which process reads which records: decided here and nowhere else.

With FullyReplicated every host has all of a channel, and all processes share its records out
among each other; with ShardedByS3Key the platform has given each host its own part already, all of
which it reads (AWS: API_S3DataSource).
"""

from __future__ import annotations

from dataclasses import dataclass

from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.world import World


@dataclass(frozen=True)
class Share:
    """Of the records that a process sees, those numbered start, start + step, start + 2 step..."""

    start: int = 0
    step: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.step:
            raise ValueError(f"expected 0 <= start < step, got {self.start} and {self.step}")

    def has(self, position: int) -> bool:
        """Whether the record at this position, from 0, is read."""
        return position % self.step == self.start

    def of(self, count: int) -> slice:
        """The records read, of so many."""
        return slice(self.start, count, self.step)


WHOLE = Share()
"""All records."""


def is_sharded(channel: Channel) -> bool:
    """Whether the platform has given each host a part of its own."""
    return channel.distribution == "ShardedByS3Key"


def share(channel: Channel, world: World) -> Share:
    """The share of a channel that a process reads of what its host has.

    Over all processes every record of a replicated channel is read exactly once, the numbers of
    records differing by one at most; of a sharded one the processes of each host share whatever
    it has.
    """
    if is_sharded(channel):
        return Share(world.local_rank, world.local_size)
    return Share(world.rank, world.size)
