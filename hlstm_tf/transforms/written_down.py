"""Compact kernels whose forward pass makes their dense matrix become dense kernels."""

from collections.abc import Iterator

import keras
import numpy as np

from hlstm_tf.keras_internals import own_trainable_variables
from hlstm_tf.layers.cells import compact_kernels
from hlstm_tf.layers.compact_kernels import CompactKernel
from hlstm_tf.layers.masking import layers_within
from hlstm_tf.layers.matrix_forms import MatrixForm, forms_config
from hlstm_tf.transforms.editing import weight
from hlstm_tf.transforms.rewriting import Entry, copy_state, rebuild
from hlstm_tf.transforms.twins import plain_entry


def write_down(model: keras.Model) -> keras.Model:
    """Makes the matrices of forms that are written down anyway part of the model.

    Without masks. The model itself where it has no such form.

    Args:
        model: A built model.
    """
    found = {id(layer): kernels for layer, kernels in _written_down(model)}
    if not found:
        return model

    def dense(layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
        entry = plain_entry(layer, entry)
        makes_cell = isinstance(layer, keras.layers.RNN) and "cell" not in entry["config"]
        owner = layer.cell if makes_cell else layer
        if id(owner) not in found:
            return entry
        forms = forms_config(_other_forms(owner))
        return {**entry, "config": {**entry["config"], "kernel_form": forms}}

    new = rebuild(model, dense)
    copy_state(model, new, {key: _arrays(kernels) for key, kernels in found.items()})
    return new


def _written_down(model: keras.Model) -> Iterator[tuple[keras.Layer, list[CompactKernel]]]:
    for layer in layers_within(model):
        kernels = [k for k in compact_kernels(layer).values() if k.form.is_written_down]
        if kernels:
            yield layer, kernels


def _other_forms(layer: keras.Layer) -> dict[str, MatrixForm]:
    return {name: form for name, form in layer.kernel_form.items() if not form.is_written_down}


def _arrays(kernels: list[CompactKernel]) -> dict[str, np.ndarray]:
    layer = kernels[0].layer
    gone = {name for kernel in kernels for name in kernel.names}
    rest = [v.name for v in own_trainable_variables(layer) if v.name not in gone]
    arrays = {name: np.asarray(weight(layer, name)) for name in rest}
    return arrays | {k.name: layer.from_matrices(k.name, k.dense()) for k in kernels}
