"""Images a second of N GPUs, predicted from one GPU's rate, the gradients' bytes and the link.

python benchmarks/scaling_model.py [--rate 72.5] [--batch 32] [--megabytes 130.8] [--gbit 25]
The model is docs/scaling.md's. benchmarks/scaling.py --mbit 200 measures what is predicted by
--rate 1.65 --batch 8 --gbit 0.2 --machines 2 --gpus 1 --link-share 0.95
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

FORWARD_SHARE = 1 / 3
"""Of a step's computing: before it no gradient is there."""

LINK_SHARE = 0.8
"""Of a link's speed that gradients come to use: an assumption; 0.95 was measured on veth."""

ROUND_TRIP_SECONDS = 100e-6
"""Between machines."""

AGREEMENT_SECONDS = 50e-6
"""What each machine adds to the time in which all agree on an update (benchmarks/agreement.py)."""

SPREAD = 0.02
"""Of the time that a GPU's step takes, as a share of it."""

LAST_SHARE = 0.05
"""Of the gradients, which are there only when all is computed."""

FUSED_BYTES = 64e6
"""Of gradients that Horovod sends at a time, its default."""

SERVER_BYTES_A_SECOND = 3e9
"""Gradients that a parameter server adds up."""


@dataclass(frozen=True)
class Cluster:
    """Machines of one kind.

    Attributes:
        rate: images a second that one GPU trains on.
        batch: images of one GPU in an update.
        megabytes: of one set of gradients.
        gbit: of the link of each machine, each way.
        gpus: in each machine.
        link_share: of the link's speed that is used.
    """

    rate: float
    batch: int
    megabytes: float
    gbit: float
    gpus: int
    link_share: float = LINK_SHARE

    def step_seconds(self, form: str, machines: int) -> float:
        """An update of all: computing, and what of the exchange is not hidden behind it."""
        gpus = machines * self.gpus
        # All wait for the slowest: the expected largest of so many draws.
        waiting = 1 + SPREAD * math.sqrt(2 * math.log(gpus)) if gpus > 1 else 1.0
        computing = waiting * self.batch / self.rate
        if machines == 1:
            return computing  # gradients go by NVLink or PCIe, behind the computing
        agreement = ROUND_TRIP_SECONDS + machines * AGREEMENT_SECONDS
        gradients = self.megabytes * 1e6
        share = (machines - 1) / machines
        link = 2 * share * gradients / (self.gbit * 1e9 / 8 * self.link_share)
        if form == "kvstore":
            # Worker and server of a machine share its link; its server adds up all workers'
            # parts of what it holds.
            exchange = max(link, gradients / SERVER_BYTES_A_SECOND)
        else:
            # A ring has two turns through all GPUs for every fused buffer.
            buffers = math.ceil(gradients / FUSED_BYTES)
            exchange = link + buffers * 2 * (gpus - 1) * ROUND_TRIP_SECONDS / 2
        hidden = max(computing + LAST_SHARE * exchange, FORWARD_SHARE * computing + exchange)
        return agreement + hidden

    def images_a_second(self, form: str, machines: int) -> float:
        """Of all GPUs."""
        return machines * self.gpus * self.batch / self.step_seconds(form, machines)


def main() -> None:
    """Print predictions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=72.5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--megabytes", type=float, default=130.8)
    parser.add_argument("--gbit", type=float, default=25.0)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--machines", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--link-share", type=float, default=LINK_SHARE)
    options = parser.parse_args()
    cluster = Cluster(
        options.rate,
        options.batch,
        options.megabytes,
        options.gbit,
        options.gpus,
        link_share=options.link_share,
    )
    print("| GPUs | form | images/s | of the ideal |")
    print("|---|---|---|---|")
    for machines in options.machines:
        for form in ("kvstore", "horovod"):
            rate = cluster.images_a_second(form, machines)
            gpus, digits = machines * options.gpus, 2 if rate < 10 else 0
            ideal = gpus * options.rate
            print(f"| {gpus} | {form} | {rate:,.{digits}f} | {rate / ideal:.2f} |")


if __name__ == "__main__":
    main()
