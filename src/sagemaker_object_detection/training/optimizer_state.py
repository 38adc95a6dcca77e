"""The state of a Gluon trainer's optimiser as named arrays.

Trainer.save_states pickles it, and what is pickled can run anything when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mxnet as mx
from mxnet import gluon
from numpy.typing import NDArray


def optimizer_arrays(trainer: gluon.Trainer) -> dict[str, NDArray[Any]]:
    """What every parameter has in the optimiser, `NAME:0`, `NAME:1` and so on.

    Empty before the first step.
    """
    updater = trainer._updaters[0]
    names = _names(trainer)
    return {
        f"{names[index]}:{part}": array.asnumpy()
        for index, state in updater.states.items()
        for part, array in enumerate(_parts(state))
    }


def update_counts(trainer: gluon.Trainer) -> dict[str, int]:
    """How many updates every parameter has had; adam corrects its averages by it."""
    names = _names(trainer)
    return {names[index]: n for index, n in trainer.optimizer._index_update_count.items()}


def restore_optimizer(
    trainer: gluon.Trainer, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int]
) -> None:
    """Put back what optimizer_arrays and update_counts gave.

    Where there were no arrays, as of sgd without momentum, they begin anew.

    Raises:
        KeyError, ValueError: the arrays are of another optimiser or network.
    """
    optimizer = trainer.optimizer
    for index, name in _names(trainer).items():
        if name not in counts:
            continue
        weights = trainer._params[index].list_data()
        for updater, weight in zip(trainer._updaters, weights, strict=True):
            state = optimizer.create_state_multi_precision(index, weight)
            if f"{name}:0" in arrays:
                for part, array in enumerate(_parts(state)):
                    array[:] = arrays[f"{name}:{part}"]
            updater.states[index] = state
            updater.states_synced[index] = True
            optimizer._set_current_context(weight.context.device_id)
            optimizer._index_update_count[index] = counts[name]
    optimizer.num_update = max(counts.values(), default=0)


def _names(trainer: gluon.Trainer) -> dict[int, str]:
    return {index: parameter.name for index, parameter in enumerate(trainer._params)}


def _parts(state: Any) -> Iterator[mx.nd.NDArray]:
    """The arrays in a state: none, one, or nested tuples of them."""
    if isinstance(state, mx.nd.NDArray):
        yield state
    elif state is not None:
        for part in state:
            yield from _parts(part)
