"""Which host reads which records: decided here and nowhere else.

With FullyReplicated every host has all of a channel, and they share its records out among each
other; with ShardedByS3Key the platform has given each host its own part already, all of which it
reads (contract.md B.5).
"""

from __future__ import annotations

from dataclasses import dataclass

from sagemaker_object_detection.platform.channels import Channel


@dataclass(frozen=True)
class Share:
    """Of the records that a host sees, those numbered start, start + step, start + 2 step, ..."""

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


def share(channel: Channel, rank: int, world_size: int) -> Share:
    """The share of a channel that host `rank` of `world_size` reads.

    Over all hosts every record of a replicated channel is read exactly once, the numbers of
    records differing by one at most; of a sharded one each host reads whatever it has.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"expected a rank in 0..{world_size - 1}, got {rank}")
    if channel.distribution == "ShardedByS3Key":
        return WHOLE
    return Share(rank, world_size)
