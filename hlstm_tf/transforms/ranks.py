"""Ranks of low-rank kernels of which a column or a row has died go, and the function stays."""

import functools
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import own_trainable_variables
from hlstm_tf.layers.cells import compact_kernels
from hlstm_tf.layers.compact_kernels import CompactKernel
from hlstm_tf.layers.masking import layers_within
from hlstm_tf.layers.matrix_forms import LowRank, SharedLowRank, forms_config
from hlstm_tf.transforms.editing import Edited, Values, WeightStore


def compact_ranks(model: keras.Layer, store: WeightStore) -> None:
    """Takes the dead ranks out of all low-rank kernels of a model.

    A rank is dead where its column of the left factor or its row of the right one is all zero. Of
    gates that have projections of their own, in variables that they share, each keeps as many as
    the gate with the most.

    Args:
        model: A built model, masked or plain.
        store: Where its weights are worked on.
    """
    for layer in layers_within(model):
        low = [kernel for kernel in compact_kernels(layer).values() if _is_low_rank(kernel)]
        if low:
            store.open_as(layer, functools.partial(_Factors, low)).compact()


def _is_low_rank(kernel: CompactKernel) -> bool:
    return isinstance(kernel.form, (LowRank, SharedLowRank))


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
        for kernel in self._kernels:
            left, right = (self.arrays[name] for name in kernel.names)
            parts = self._by_part(kernel, left, right)
            alive = [(a != 0).any(axis=0) & (b != 0).any(axis=1) for a, b in parts]
            rank = max(1, *(int(each.sum()) for each in alive))
            if rank == len(alive[0]):
                continue
            # The living first; a gate with fewer fills up with dead ones.
            kept = [np.sort(np.argsort(~each, kind="stable")[:rank]) for each in alive]
            pairs = zip(parts, kept, strict=True)
            self._put(kernel, [(a[:, own], b[own]) for (a, b), own in pairs])
            assert isinstance(kernel.form, (LowRank, SharedLowRank))
            forms[_weight_of(kernel, forms)] = type(kernel.form)(rank)
            self.arguments["kernel_form"] = forms_config(forms)

    @staticmethod
    def _by_part(
        kernel: CompactKernel, left: np.ndarray, right: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The pairs of factors `(inputs, rank)` and `(rank, outputs)`."""
        if right.ndim == 2:
            return [(left, right)]
        lefts = list(left) if left.ndim == 3 else np.split(left, kernel.shape.gates, axis=-1)
        return list(zip(lefts, right, strict=True))

    def _put(self, kernel: CompactKernel, parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
        name_left, name_right = kernel.names
        lefts, rights = [a for a, _ in parts], [b for _, b in parts]
        apart = self.arrays[name_left].ndim == 3
        self.arrays[name_left] = np.stack(lefts) if apart else np.concatenate(lefts, axis=-1)
        self.arrays[name_right] = rights[0] if len(rights) == 1 else np.stack(rights)


def _weight_of(kernel: CompactKernel, forms: dict[str, Any]) -> str:
    """The name that a layer's forms go by: the kernel's own, or that which its gates share."""
    return kernel.name if kernel.name in forms else kernel.name.rpartition("_")[0]
