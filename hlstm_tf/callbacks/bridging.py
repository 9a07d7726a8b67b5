"""The bridging gradient: what connections past a layer, from inputs to readers, would do."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.observers import bridging, tapping, zero_bridge

from .gate_sites import GateSite
from .gradient_pass import GradientPass
from .neuron_sites import Site


class BridgingGradients(GradientPass):
    """Bridging gradients of layers of neurons, averaged over the training set.

    G[n, m] is the mean over the data of x_n, an input of the layer, times dL/du_m, where u_m is
    the pre-activation of a neuron of the layer after it (NeST, arXiv 1711.02017, algorithm 2); at
    each position, where the data have some. Weights are fixed, as in `DenseGradients`.

    Of a gate's hidden layer x is the input and the previous output of each step (of a deeper one,
    the neurons before it), u the gate's own pre-activation (or the next hidden layer's), and the
    products are summed over the steps, as the gradient of a recurrent weight is. Masked steps, and
    what follows from a step through time, are in it as they are in the loss.

    Args:
        model: A compiled, built model with masked kernels.
        sites: Layers with `is_bridge`, and hidden layers of gates.
        training: The `training` argument of the forward pass.
    """

    def __init__(
        self, model: keras.Model, sites: Sequence[Site | GateSite], training: bool = False
    ) -> None:
        self.sites = list(sites)
        super().__init__(model, training)

    def mean(
        self, data: Any, batch_size: int, where: str, share: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Passes the training set once; arguments and errors as of `averages`.

        Returns:
            For each site G, `(inputs, neurons of all readers)`, and the inputs' mean `(inputs,)`;
            of gates, the mean of their sums over the steps.
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

            bridges: dict[int, dict[tuple[int, int], Any]] = {}
            for site in self.sites:
                if isinstance(site, GateSite):
                    bridge = zero_bridge(*site.bridge_shape)
                    tape.watch(bridge)
                    bridges.setdefault(id(site.cell), {})[site.place] = bridge
            with tapping(tap), bridging(bridges):
                loss = self._loss(x, y, sample_weight)
            scaled = loss * scale
        ends = [
            [bridges[id(site.cell)][site.place]]
            if isinstance(site, GateSite)
            else [seen[id(kernel.layer)][1] for kernel in site.readers]
            for site in self.sites
        ]
        gradients = tape.gradient(scaled, ends, unconnected_gradients="zero")
        values: list[Any] = []
        for site, found in zip(self.sites, gradients, strict=True):
            if isinstance(site, GateSite):
                values += _of_gate(site, found[0], scale)
                continue
            inputs = _flat(seen[id(site.writer.layer)][0])
            later = tf.concat([_flat(gradient) / scale for gradient in found], axis=1)
            values += [
                tf.matmul(inputs, later, transpose_a=True),
                tf.reduce_mean(inputs, axis=0),
            ]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])
        return loss, values, finite


def _of_gate(site: GateSite, gradient: Any, scale: Any) -> list[Any]:
    # A dormant neuron that is read puts out a constant, where its activation is not 0 at 0.
    heard = tf.where(site.mute[:, None], 0.0, gradient)
    return [heard[:, :-1] / scale, heard[:, -1]]


def _flat(values: Any) -> Any:
    return tf.reshape(tf.cast(values, tf.float32), [-1, values.shape[-1]])
