"""The bridging gradient: what connections past a layer, from inputs to consumers, would do."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.observers import bridging, tapping
from hlstm_tf.pruning.sites import Passed, Site
from hlstm_tf.scoring.gradients import GradientPass


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

    def __init__(self, model: keras.Model, sites: Sequence[Site], training: bool = False) -> None:
        self.sites = list(sites)
        super().__init__(model, training)

    def mean(
        self, data: Any, batch_size: int, where: str, share: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Passes the training set once; arguments and errors as of `averages`.

        Returns:
            For each site G, `(inputs, neurons of all consumers)`, and the inputs' mean `(inputs,)`;
            of gates, the mean of their sums over the steps.
        """
        means = self.averages(data, batch_size, where, share)
        return list(zip(means[::2], means[1::2], strict=True))

    def _loss_and_values(
        self, x: Any, y: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, list[Any], Any]:
        passed = Passed()
        with tf.GradientTape() as tape:

            def tap(layer: keras.Layer, inputs: Any, value: Any, output: Any) -> None:
                tape.watch(value)
                passed.tapped[id(layer)] = (inputs, value)

            for site in self.sites:
                site.open_bridge(passed.bridges)
            tape.watch(passed.bridges)
            with tapping(tap), bridging(passed.bridges):
                loss = self._loss(x, y, sample_weight)
            scaled = loss * scale
        ends = [site.bridge_ends(passed) for site in self.sites]
        gradients = tape.gradient(scaled, ends, unconnected_gradients="zero")
        values: list[Any] = []
        for site, found in zip(self.sites, gradients, strict=True):
            values += site.bridging_gradient(passed, found, scale)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])
        return loss, values, finite
