"""The bridging gradient: what connections past a layer, from inputs to readers, would do."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.taps import tapping

from .gradient_pass import GradientPass
from .neuron_sites import Site


class BridgingGradients(GradientPass):
    """Bridging gradients of layers of neurons, averaged over the training set.

    G[n, m] is the mean over the data of x_n, an input of the layer, times dL/du_m, where u_m is
    the pre-activation of a neuron of the layer after it (NeST, arXiv 1711.02017, algorithm 2); at
    each position, where the data have some. Weights are fixed, as in `DenseGradients`.

    Args:
        model: A compiled, built model with masked kernels.
        sites: Layers with `is_bridge`.
        training: The `training` argument of the forward pass.
    """

    def __init__(self, model: keras.Model, sites: Sequence[Site], training: bool = False) -> None:
        self.sites = list(sites)
        super().__init__(model, training)

    def mean(
        self, data: Any, batch_size: int, where: str, share: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Passes the training set once; arguments and errors as of `averages`.

        Returns:
            For each site G, `(inputs, neurons of all readers)`, and the inputs' mean `(inputs,)`.
        """
        means = self.averages(data, batch_size, where, share)
        return list(zip(means[::2], means[1::2], strict=True))

    def _loss_and_values(
        self, x: Any, y: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, list[Any], Any]:
        seen: dict[int, tuple[Any, Any]] = {}
        with tf.GradientTape() as tape:

            def tap(layer: keras.Layer, inputs: Any, value: Any, output: Any) -> None:
                tape.watch(value)
                seen[id(layer)] = (inputs, value)

            with tapping(tap):
                loss = self._loss(x, y, sample_weight)
            scaled = loss * scale
        ends = [[seen[id(kernel.layer)][1] for kernel in site.readers] for site in self.sites]
        gradients = tape.gradient(scaled, ends, unconnected_gradients="zero")
        values: list[Any] = []
        for site, found in zip(self.sites, gradients, strict=True):
            inputs = _flat(seen[id(site.writer.layer)][0])
            later = tf.concat([_flat(gradient) / scale for gradient in found], axis=1)
            values += [
                tf.matmul(inputs, later, transpose_a=True),
                tf.reduce_mean(inputs, axis=0),
            ]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])
        return loss, values, finite


def _flat(values: Any) -> Any:
    return tf.reshape(tf.cast(values, tf.float32), [-1, values.shape[-1]])
