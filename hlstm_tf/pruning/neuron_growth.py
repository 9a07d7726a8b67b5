"""Growth of neurons in a whole model: which are born, and with which connections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.layers.masking import MaskedKernel, masked_kernels
from hlstm_tf.layers.observers import bridging, tapping
from hlstm_tf.pruning.feature_maps import Trials
from hlstm_tf.pruning.layer_sites import LayerSite, sites_of
from hlstm_tf.pruning.sites import Passed, Site
from hlstm_tf.scoring.gradients import GradientPass
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.scoring.step_gradients import refuse_own_train_step
from hlstm_tf.sparsity import Birth, edit_masks, held_optimizers, neuron_births
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.envelopes import why_no_births

_SAID = 8
"""Layers that an error gives the reasons of."""


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


@dataclass(frozen=True)
class NeuronGrowthRule:
    """How neurons grow: units of dense layers, feature maps, hidden neurons of H-LSTM gates.

    Args:
        neurons: How many are born into each layer at each growth: a number, or a share of the
            layer's width (a float, rounded up), or one of either for each layer named in a
            mapping; other layers then get none. A layer has no more than its dormant neurons.
            In an H-LSTM layer it is so many for each hidden layer of each gate.
        ratio: Growth ratio in [0, 1] of dense layers and gates: a new neuron bridges the pairs
            whose bridging gradient exceeds this percentile. 0.95 by default, sparser than growth of
            connections has it: pairs share a neuron's connections, so that few of them fill it,
            and a neuron for many pairs takes a step too long for its gradient more often.
        birth_strength: The mean magnitude of a new neuron's weights, in units of the mean
            magnitude of the layer's; 1 by default.
        candidates: How many random sets of connections a new feature map is chosen from.

    Raises:
        ValueError: An argument is out of its range.

    >>> NeuronGrowthRule({"conv": 2, "dense": 0.25}).wanted("dense", 30)
    8
    """

    neurons: int | float | Mapping[str, int | float] | tuple[tuple[str, int | float], ...] = 1
    ratio: float = 0.95
    birth_strength: float = 1.0
    candidates: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.neurons, Mapping):
            # Hashable, and as JSON holds it.
            object.__setattr__(self, "neurons", tuple(sorted(self.neurons.items())))
        for amount in dict(self._by_layer()).values():
            if isinstance(amount, float):
                check_fraction(amount, "neurons")
            else:
                check_count(amount, "neurons", minimum=0)
        check_fraction(self.ratio, "ratio")
        check_count(self.candidates, "candidates")
        if not 0 < self.birth_strength < np.inf:
            raise ValueError(f"birth_strength must be above 0; got {self.birth_strength!r}")

    def wanted(self, layer: str, width: int) -> int:
        """How many neurons a layer of that name and width is to get."""
        amounts = self._by_layer()
        amount = amounts.get(layer, amounts.get("", 0))
        return int(np.ceil(amount * width)) if isinstance(amount, float) else int(amount)

    def layers(self) -> list[str]:
        """The layers that are named."""
        return [name for name in self._by_layer() if name]

    def _by_layer(self) -> dict[str, int | float]:
        if isinstance(self.neurons, tuple):
            return dict(self.neurons)
        assert not isinstance(self.neurons, Mapping)
        return {"": self.neurons}


def require_sites(model: keras.Model, births: NeuronGrowthRule) -> list[Site]:
    """Returns the sites that neurons are wanted for.

    Raises:
        ValueError: There is none, or none in a layer that is named; or the model has a
            `train_step` of its own, whose loss is not known outside of it.
    """
    refuse_own_train_step(model, "neurons grow")
    sites = sites_of(model)
    known = list(dict.fromkeys(site.name for site in sites))
    unknown = [name for name in births.layers() if name not in known]
    if unknown or not sites:
        raise ValueError(
            f"neurons: model '{model.name}' has no layer "
            + (f"{', '.join(map(repr, unknown))} " if unknown else "")
            + f"into which neurons can grow: {_reasons(model, unknown)}"
            + (f" (such are: {', '.join(known)})" if known else "")
            + ". Neurons grow into masked dense layers and convolutions that such layers alone "
            "read, and into the hidden layers of H-LSTM gates."
        )
    return [site for site in sites if births.wanted(site.name, site.width)]


def _reasons(model: keras.Model, names: Sequence[str]) -> str:
    """Why neurons cannot grow into each layer named, or into each masked one; the first few."""
    kernels = masked_kernels(model)
    reasons = why_no_births(model, kernels)
    if not names:
        masked = {kernel.layer.name for kernel in kernels}
        names = [name for name in reasons if name in masked]
    said = [f"'{name}': {reasons.get(name, 'there is no such layer')}" for name in names[:_SAID]]
    more = [f"and {len(names) - _SAID} more"] if len(names) > _SAID else []
    return "; ".join(said + more)


def grow_neurons(
    source: ScoreSource, births: NeuronGrowthRule, event: int, where: str
) -> dict[str, int]:
    """Lets neurons be born, by bridging gradient or by trial; returns how many, by layer.

    Args:
        source: The model, and the training data.
        births: How.
        event: Number of the growth, so that each draws signs and candidates of its own.
        where: What the growth is for, to name it in an error.
    """
    sites = require_sites(source.model, births)
    rngs = [np.random.default_rng([source.seed, event, number]) for number in range(len(sites))]
    counts = [min(births.wanted(site.name, site.width), site.dormant.size) for site in sites]
    born = dict.fromkeys((site.name for site in sites), 0)
    work = [item for item in zip(sites, counts, rngs, strict=True) if item[1]]
    bridges = [item for item in work if item[0].is_bridge]
    if bridges:
        crossed = [site for site, _, _ in bridges]
        gradients = BridgingGradients(source.model, crossed, source.training)
        measured = gradients.mean(source.data, source.batch_size, where, source.share)
        drawn = [
            neuron_births(matrix, count, births.ratio, rng, mean)
            for (_, count, rng), (matrix, mean) in zip(bridges, measured, strict=True)
        ]
        _connect(source.model, crossed, drawn, births.birth_strength)
        for site, new in zip(crossed, drawn, strict=True):
            born[site.name] += len(new)
    loss: Trials | None = None
    for site, count, rng in work:
        if isinstance(site, LayerSite) and not site.is_bridge:
            loss = loss or Trials(source, births.candidates, births.birth_strength, where)
            born[site.name] += loss.grow(site, count, rng)
    return born


def _connect(
    model: keras.Model,
    sites: Sequence[Site],
    drawn: Sequence[Sequence[Birth]],
    strength: float,
) -> None:
    """Gives new neurons their connections, of all layers at once."""
    edits: dict[MaskedKernel, tuple[np.ndarray, np.ndarray]] = {}

    def opened(kernel: MaskedKernel) -> tuple[np.ndarray, np.ndarray]:
        if kernel not in edits:
            mask, values = (keras.ops.convert_to_numpy(v) for v in (kernel.mask, kernel.variable))
            edits[kernel] = np.array(mask), np.array(values)
        return edits[kernel]

    for site, births in zip(sites, drawn, strict=True):
        site.connect(births, strength, opened, held_optimizers(model))
    masks = {kernel: mask for kernel, (mask, _) in edits.items()}
    values = {kernel: values for kernel, (_, values) in edits.items()}
    edit_masks(masks, held_optimizers(model), values)
