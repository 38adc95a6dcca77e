"""One error for all the records of a channel that are wrong in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from sagemaker_object_detection.platform.errors import ClientError

SHOWN_OFFENDERS = 10


def refusal(what: str, offenders: Sequence[str], total: int | None = None) -> ClientError:
    """One error that lists up to ten offenders.

    Args:
        what: the heading, without a full stop.
        offenders: a sentence or two each; further than the tenth they are only counted.
        total: how many there are, when `offenders` holds the first of them only.
    """
    count = len(offenders) if total is None else total
    more = count - min(len(offenders), SHOWN_OFFENDERS)
    lines = [f"{what} ({count} in all):", *offenders[:SHOWN_OFFENDERS]]
    if more > 0:
        lines.append(f"... and {more} more.")
    return ClientError("\n".join(lines))


class Offenders:
    """Faults of a channel as they are found: the first ten in words, the others by their number."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, text: str) -> None:
        """One more: what is wrong and its cure."""
        self._count += 1
        if len(self._first) < SHOWN_OFFENDERS:
            self._first.append(text)

    def __len__(self) -> int:
        return self._count

    def refuse(self, what: str) -> None:
        """Raise one ClientError for all of them, if there are any."""
        if self._count:
            raise refusal(what, self._first, self._count)
