"""Ranks of low-rank kernels of which a column or a row has died go, and the function stays."""

import functools
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import own_trainable_variables
from hlstm_tf.layers.cells import compact_kernels
from hlstm_tf.layers.compact_kernels import CompactKernel
from hlstm_tf.layers.low_rank import LowRank
from hlstm_tf.layers.masking import layers_within
from hlstm_tf.layers.matrix_forms import forms_config
from hlstm_tf.transforms.editing import Edited, Values, WeightStore

Pair = tuple[np.ndarray, np.ndarray]
"""The factors `(inputs, rank)` and `(rank, outputs)`."""


def compact_ranks(model: keras.Layer, store: WeightStore) -> None:
    """Takes the dead ranks out of all low-rank kernels of a model.

    A rank is dead where its column of the left factor or its row of the right one is all zero.
    Gates that have projections of their own each keep as many as the gate with the most.

    Args:
        model: A built model, masked or plain.
        store: Where its weights are worked on.
    """
    for layer in layers_within(model):
        low = [kernel for kernel in compact_kernels(layer).values() if _is_low_rank(kernel)]
        if low:
            store.open_as(layer, functools.partial(_Factors, low)).compact()


def _is_low_rank(kernel: CompactKernel) -> bool:
    return isinstance(kernel.form, LowRank)


class _Factors(Edited):
    """The factors of a layer's low-rank kernels while they are being worked on."""

    def __init__(self, kernels: list[CompactKernel], values: Values) -> None:
        layer = kernels[0].layer
        arrays = {each.name: values(layer, each.name) for each in own_trainable_variables(layer)}
        arrays |= {name: values(layer, name) for kernel in kernels for name in kernel.names}
        super().__init__(layer, {name: each for name, each in arrays.items() if each is not None})
        self._kernels = kernels

    def compact(self) -> None:
        forms = self.layer.kernel_form
        by_form: dict[str, list[CompactKernel]] = {}
        for kernel in self._kernels:
            by_form.setdefault(_weight_of(kernel, forms), []).append(kernel)
        for name, kernels in by_form.items():
            parts = [self._by_part(kernel) for kernel in kernels]
            alive = [[_alive(*pair) for pair in each] for each in parts]
            # Kernels of one form keep equally many: those of gates with variables of their own.
            rank = max(1, *(int(flags.sum()) for each in alive for flags in each))
            had = [len(each[0]) for each in alive]
            if rank == max(had) or rank > min(had):
                continue
            for kernel, pairs, flags in zip(kernels, parts, alive, strict=True):
                kept = map(functools.partial(_kept, rank), pairs, flags)
                self._put(kernel, list(kept))
            form = kernels[0].form
            assert isinstance(form, LowRank)
            forms[name] = type(form)(rank)
            self.arguments["kernel_form"] = forms_config(forms)

    def _by_part(self, kernel: CompactKernel) -> list[Pair]:
        """The pairs of factors of a kernel."""
        left, right = (self.arrays[name] for name in kernel.names)
        if right.ndim == 2:
            return [(left, right)]
        lefts = list(left) if left.ndim == 3 else np.split(left, kernel.shape.gates, axis=-1)
        return list(zip(lefts, right, strict=True))

    def _put(self, kernel: CompactKernel, parts: list[Pair]) -> None:
        name_left, name_right = kernel.names
        lefts, rights = [a for a, _ in parts], [b for _, b in parts]
        apart = self.arrays[name_left].ndim == 3
        self.arrays[name_left] = np.stack(lefts) if apart else np.concatenate(lefts, axis=-1)
        self.arrays[name_right] = rights[0] if len(rights) == 1 else np.stack(rights)


def _alive(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left != 0).any(axis=0) & (right != 0).any(axis=1)


def _kept(rank: int, pair: Pair, alive: np.ndarray) -> Pair:
    """The living ranks; with fewer of them, dead ones fill up."""
    left, right = pair
    kept = np.sort(np.argsort(~alive, kind="stable")[:rank])
    return left[:, kept], right[kept]


def _weight_of(kernel: CompactKernel, forms: dict[str, Any]) -> str:
    """The name that a layer's forms go by: the kernel's own, or that which its gates share."""
    return kernel.name if kernel.name in forms else kernel.name.rpartition("_")[0]
