"""Growth of neurons in the first epochs of training."""

from collections.abc import Iterable, Mapping
from typing import Any

from hlstm_tf.callbacks.chosen_epochs import AtEpochEnds
from hlstm_tf.layers.masking import require_masked_kernels
from hlstm_tf.pruning.neuron_growth import NeuronGrowthRule, grow_neurons, require_sites
from hlstm_tf.scoring.score_source import ScoreSource


class NeuronGrowth(AtEpochEnds):
    """Lets neurons be born, at the end of chosen epochs, where they lower the loss.

    The model is an envelope with room for more neurons than live: a *dormant neuron* has no
    connection, before or after it (`hl.sparsify(model, neurons=0.2)`). No gradient reaches it, its
    bias included; a birth begins with a bias of 0. Masks change through `hl.edit_masks`.

    *Dense layers* that dense layers read (through activations, dropout, normalization) grow by the
    bridging gradient (NeST, arXiv 1711.02017, algorithm 2): a new neuron connects the inputs and
    consumers between which a connection would help most, with weights in the direction in which the
    loss falls. `hlstm_tf.sparsity.neuron_births` says how signs are chosen, what makes several new
    neurons differ, and why none is dead at birth.

    *Gates of H-LSTM layers* (arXiv 1805.11797) grow hidden neurons in the same way, each gate and
    each hidden layer by itself: what a neuron bridges are the input and the previous output of each
    step, and the gate (of several hidden layers, those on either side), with the gradient through
    time. The scale of its weights is the gate's own. An H-LSTM goes by its layer's name, inside
    `Bidirectional` `forward_NAME` and `backward_NAME`.

    *Convolutions*, and layers whose output is pooled or flattened on the way to masked dense layers
    or convolutions, grow by trial: of `candidates` random sets of connections to each new neuron
    that which lowers the loss on the data most is kept, and none if none does.

    Unlike growth of connections this changes what the model computes, for the better to first order
    where the activation is 0 at 0, as ReLU and tanh are. Units of a recurrent layer's state,
    columns of embeddings, and layers that a recurrent layer or a layer without a mask reads, do not
    grow.

    Args:
        data: The training set: a `tf.data.Dataset`, a `keras.utils.PyDataset`, an `EpochData`, or
            arrays `(x, y)` or `(x, y, sample_weight)`. Of data without an end a pass takes as many
            batches as an epoch of `fit` has.
        neurons: How many are born into each layer at each growth: a number, a share of the layer's
            width, or one of either for each layer named in a mapping; in an H-LSTM layer, into each
            hidden layer of each gate. One by default, as in the algorithm.
        ratio: Growth ratio in [0, 1]: of the pairs of inputs and consumers, those whose bridging
            gradient exceeds this percentile are bridged; see `NeuronGrowthRule`.
        epochs: Grow at the end of the first so many epochs, or of these epochs (an iterable,
            counted from 0).
        birth_strength: Mean magnitude of a new neuron's weights, in units of the layer's.
        candidates: How many random sets a new feature map is chosen from.
        training: The `training` argument of the passes over the data; see `DenseGradients`.
        share: Share of the batches that gradients and losses are averaged over. A trial costs a
            pass of this share, for each candidate.
        batch_size: How arrays are batched.
        seed: Of signs and candidates.
        verbose: Whether to print a line for each growth: 1 or 0, or "auto" (default) for as `fit`
            does, by its own `verbose`.

    Attributes:
        history: A dictionary for each growth: `epoch`, `neurons` (those born, by layer, of an
            H-LSTM layer in all gates together), `connections`, `sparsity`.

    Raises:
        ValueError: An argument is out of its range; at training, the model has no layer into which
            neurons can grow, or none of a name given; or `data` has no end and `fit` no
            `steps_per_epoch`.
        TypeError: `data` cannot be iterated again and again.
        FloatingPointError: At training, the loss or gradient of a batch is not finite.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(8, activation="relu"),
    ...                           hl.MaskedDense(2)])
    >>> model = hl.sparsify(model, sparsity=0.0, neurons=0.25)
    >>> model.compile("sgd", "mse")
    >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    >>> growth = hl.NeuronGrowth((x, x[:, :2]), neurons=2, ratio=0.5, epochs=1, verbose=0)
    >>> _ = model.fit(x, x[:, :2], callbacks=[growth], verbose=0)
    >>> growth.history[0]["neurons"], int(model.layers[0].kernel_mask.numpy().any(0).sum())
    ({'masked_dense': 2}, 4)

    Two hidden neurons for each of the four gates:

    >>> model = keras.Sequential([keras.Input((5, 4)), hl.HLSTM(3, hidden_units=8, name="lstm"),
    ...                           hl.MaskedDense(2)])
    >>> model = hl.sparsify(model, sparsity=0.0, neurons={"lstm": 2})
    >>> model.compile("sgd", "mse")
    >>> x = np.random.default_rng(0).normal(size=(32, 5, 4)).astype("float32")
    >>> growth = hl.NeuronGrowth((x, x[:, 1, :2]), neurons=2, ratio=0.5, epochs=1, verbose=0)
    >>> _ = model.fit(x, x[:, 1, :2], callbacks=[growth], verbose=0)
    >>> growth.history[0]["neurons"], hl.shrink(model).get_layer("lstm").hidden_units
    ({'lstm': 8}, (4,))
    """

    def __init__(
        self,
        data: Any,
        neurons: int | float | Mapping[str, int | float] = 1,
        ratio: float = 0.95,
        epochs: int | Iterable[int] = 3,
        birth_strength: float = 1.0,
        candidates: int = 8,
        training: bool = False,
        share: float = 1.0,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int | str | None = "auto",
    ) -> None:
        super().__init__(data, epochs, share, batch_size, verbose)
        self.births = NeuronGrowthRule(neurons, ratio, birth_strength, candidates)
        self.training = training
        self.seed = seed

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        require_masked_kernels(self.model)
        require_sites(self.model, self.births)
        super().on_train_begin(logs)
        self._source = ScoreSource(
            self.model, self.finite_data(), self.batch_size, self.training, self.share, self.seed
        )

    def act(self, epoch: int) -> str:
        where = f"growth of neurons after epoch {epoch}"
        born = grow_neurons(self._source, self.births, epoch, where)
        self.keep(epoch=epoch, neurons=born)
        by_layer = ", ".join(f"{number} in {name}" for name, number in born.items())
        return f"{sum(born.values()):,} neurons born ({by_layer})"
