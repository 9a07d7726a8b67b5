"""Growth of neurons in a whole model: which are born, and with which connections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.pruning.bridging import BridgingGradients
from hlstm_tf.pruning.feature_maps import Trials
from hlstm_tf.pruning.layer_sites import LayerSite, sites_of
from hlstm_tf.pruning.sites import Site
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.scoring.step_gradients import refuse_own_train_step
from hlstm_tf.sparsity import Birth, edit_masks, held_optimizers, neuron_births
from hlstm_tf.sparsity.checks import check_count, check_fraction


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
            + (f"'{unknown[0]}' " if unknown else "")
            + "into which neurons can grow; it has to be a masked dense layer or convolution whose "
            "output only masked dense layers and convolutions read, or an H-LSTM whose gates have "
            "hidden layers"
            + (f" (such are: {', '.join(known)})" if known else "")
            + ". Build the model with hl.sparsify(model, neurons=0.5)."
        )
    return [site for site in sites if births.wanted(site.name, site.width)]


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
