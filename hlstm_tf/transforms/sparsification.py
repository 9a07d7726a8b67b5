"""From a plain model to a sparse one: masked twins and a seed architecture."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from hlstm_tf.keras_internals import all_layers, inner_layers, own_trainable_variables
from hlstm_tf.layers import masked_kernels
from hlstm_tf.sparsity import (
    Distribution,
    Structure,
    edit_masks,
    get_distribution,
    get_structure,
)
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.envelopes import Neurons, living_places
from hlstm_tf.transforms.rewriting import Entry, check_model, copy_state, paired_layers, rebuild
from hlstm_tf.transforms.seeding import magnitude_masks, random_masks, sign_of_training
from hlstm_tf.transforms.twins import SUPPORTED, masked_entry

_KINDS = ("random", "magnitude", "zeros")
LayerFilter = Callable[[keras.Layer], bool] | Iterable[str] | str


def sparsify(
    model: keras.Model,
    sparsity: float | None = None,
    seed: int | None = None,
    *,
    seed_architecture: str | None = None,
    structure: str | Structure = "connection",
    distribution: str | Distribution = "per_matrix",
    include: LayerFilter | None = None,
    exclude: LayerFilter | None = None,
    neurons: Neurons | None = None,
) -> keras.Model:
    """Returns a model with masked layers: the same function, or a sparse seed architecture.

    Each supported layer becomes its masked twin with the same name and the same weights. Without a
    `sparsity` nothing more happens and the function is kept exactly: the start of training that
    only prunes, for a trained model. With one, that part of the connections is made dormant, their
    weights zero: those of the smallest weights, or, where a `seed` asks for it, random ones. Random
    ones are the start of grow-and-prune training of a fresh model (H-LSTM, arXiv 1805.11797,
    section 3; NeST, arXiv 1711.02017). Every neuron stays connected at both ends.

    Supported, wherever they are (nested models, `RNN`, `StackedRNNCells`, `Bidirectional`,
    `TimeDistributed`): Dense, Embedding, ReversibleEmbedding (one mask for the table and both its
    uses), Conv1D to 3D, Conv1DTranspose to 3DTranspose, DepthwiseConv1D and 2D, SeparableConv1D and
    2D, SimpleRNN, LSTM, GRU, their cells, and `HLSTM` and `HLSTMCell`. All of them by default, the
    first and the last layer too; leave some dense with `exclude`. Biases are never masked. Layers
    that have masks already keep their weights and get new masks where `sparsity` is given. Any
    other layer that holds a matrix of weights, a subclass of a supported one included, is left as
    it is, and a warning names it.

    The twins train with the defaults of `MaskedLSTM` and `MaskedGRU`. For products in bfloat16 or
    less memory make such a layer in place of Keras's in the model itself, with `matmul_dtype` and
    `recompute`; it comes out as it is.

    The model given is left as it is. The new one is not compiled. A subclassed model that makes
    its layers in its constructor is made again and gets the twins as its attributes: that model
    trains and saves its weights, but a `.keras` file of it does not know of the twins and cannot be
    loaded. Saving one warns. Load saved weights into a model that `sparsify` has made, or make
    masked layers in the constructor.

    Args:
        model: A built Keras model: Sequential, functional or subclassed. A subclassed one needs
            a `get_config` from which it can be made again.
        sparsity: Fraction of the connections that are dormant, in [0, 1]; the paper has 0.5. The
            fewest connections that leave no neuron out are kept in any case. With 0 all exist, in
            layers that had masks too. Default `None`: all that exist stay, no other becomes
            dormant.
        seed: Asks for a random seed architecture, and says which: the same seed gives the same
            masks on every machine. Default `None`: none, so that nothing is lost by chance.
        seed_architecture: "magnitude": the connections of the largest weights exist. "random": they
            are drawn by `seed` (0 without one), whatever the weights are worth; also of a model
            that has been trained. "zeros": those whose weights are not zero exist, as in a model
            of plain layers that was pruned before; without a `sparsity`. Default `None`: "random"
            with a `seed`, "magnitude" without.
        structure: What exists or not as one: "connection" (default), "row", "column", blocks
            such as "1x4", patterns such as "2:4", or a `Structure`. A pattern has a least sparsity:
            0.5 for "2:4".
        distribution: How the sparsity is shared out among the matrices (one gate of one kernel
            each): "per_matrix" (default: the same for all), "global", "erk", or a `Distribution`.
        include: Which layers to mask: a layer name or several, a wrapper's name standing for
            all inside; or a function of the layer. Default: all.
        exclude: Which layers not to mask, of those included; in the same form. Default: none.
        neurons: How many neurons of each layer live, for growth of neurons (`hl.NeuronGrowth`):
            a share of its width, or a number or share for each layer named in a mapping; the
            others live whole. Living ones are the first; the rest are dormant, without any
            connection or bias, and `sparsity` is that of the connections between living neurons.
            It is about the units of dense layers and the filters of convolutions that only masked
            dense layers and convolutions read, and the hidden neurons of H-LSTM gates, where it is
            that many of each hidden layer of each gate, under the name of the layer; all others
            live. Default `None`: all live.

    Returns:
        A new model of the same kind.

    Raises:
        TypeError: `model` is no Keras model, or a filter is neither names nor a function.
        ValueError: The model is not built, has no supported layer, or cannot be rewritten; an
            argument is malformed; `sparsity` is less than a pattern's least; `seed` is given, but
            not `seed_architecture`, and the model has been trained, as its optimizer's steps or
            its biases tell; a filter names a layer that does not exist, or `neurons` one
            whose neurons cannot be dormant.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 8)), keras.layers.LSTM(4),
    ...                           keras.layers.Dense(2, name="head")])
    >>> sparse = hl.sparsify(model, sparsity=0.75, seed=1, exclude="head")
    >>> [int(k.mask.numpy().sum()) for k in hl.masked_kernels(sparse)]
    [32, 16]

    A trained model, of which the largest weights stay:

    >>> pruned = hl.sparsify(model, sparsity=0.75)

    What was pruned and went on as plain layers, with masks again:

    >>> again = hl.sparsify(hl.strip(pruned), seed_architecture="zeros")
    >>> [int(k.mask.numpy().sum()) for k in hl.masked_kernels(again)]
    [32, 16, 4]

    An envelope for 300 hidden neurons of which 30 live:

    >>> model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(300, name="hidden"),
    ...                           keras.layers.Dense(10)])
    >>> seed = hl.sparsify(model, sparsity=0.5, neurons={"hidden": 30})
    >>> [int(k.mask.numpy().sum()) for k in hl.masked_kernels(seed)]
    [11760, 150]
    """
    check_model(model)
    structure, distribution = get_structure(structure), get_distribution(distribution)
    if sparsity is not None:
        check_fraction(sparsity, "sparsity")
    structure.check_sparsity(sparsity, "sparsity")
    kind = _kind(seed_architecture, seed)
    if kind == "zeros" and (sparsity is not None or neurons is not None):
        raise ValueError(
            "seed_architecture='zeros' takes the connections that the weights have; leave out"
            f" `sparsity` and `neurons` (got sparsity={sparsity}, neurons={neurons})"
        )
    chosen = _Chosen(model, include, exclude)
    new = rebuild(model, chosen.twin)
    if not chosen.layers:
        raise ValueError(
            f"`model` '{model.name}' has no layer to mask; supported are {', '.join(SUPPORTED)}"
        )
    if kind == "random" and sparsity and seed_architecture is None:
        _check_fresh(model, new)
    copy_state(model, new)
    kernels = [
        kernel
        for layer, twin in paired_layers(model, new)
        if id(layer) in chosen.layers
        for kernel in masked_kernels(twin)
    ]
    rooms = None if neurons is None else living_places(new, kernels, neurons)
    if kind == "zeros":
        edit_masks({kernel: np.asarray(kernel.variable) != 0 for kernel in kernels})
    elif sparsity is not None or rooms is not None:
        draw = random_masks if kind == "random" else magnitude_masks
        edit_masks(draw(kernels, sparsity or 0.0, seed or 0, structure, distribution, rooms))
    _warn_of_unmasked(chosen.unmasked(model))
    return new


def _kind(seed_architecture: str | None, seed: int | None) -> str:
    """How the connections are chosen: "random", "magnitude" or "zeros"."""
    if seed is not None:
        check_count(seed, "seed", minimum=0)
    if seed_architecture not in (None, *_KINDS):
        raise ValueError(
            f"`seed_architecture` must be one of {', '.join(map(repr, _KINDS))}, or None; got "
            f"{seed_architecture!r}"
        )
    if seed_architecture in ("magnitude", "zeros") and seed is not None:
        raise ValueError(
            f"`seed` draws a random architecture, and seed_architecture={seed_architecture!r} draws"
            f" none; leave one of them out (got seed={seed})"
        )
    return seed_architecture or ("magnitude" if seed is None else "random")


def _check_fresh(model: keras.Model, fresh: keras.Model) -> None:
    if sign := sign_of_training(model, fresh):
        raise ValueError(
            f"`model` '{model.name}' has been trained ({sign}), and `seed` asks for a random seed "
            "architecture, which takes weights away whatever they are worth; leave `seed` out to "
            "keep the largest weights, or give seed_architecture='random' to draw all the same"
        )


class _Chosen:
    """Decides which layers are masked, and remembers it."""

    def __init__(
        self, model: keras.Model, include: LayerFilter | None, exclude: LayerFilter | None
    ) -> None:
        names = {layer.name for layer in inner_layers(model)}
        self._include = _as_filter(include, "include", names, default=True)
        self._exclude = _as_filter(exclude, "exclude", names, default=False)
        self.layers: set[int] = set()
        self._settled: set[int] = set()

    def twin(self, layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
        twin = masked_entry(layer, entry)
        if twin is None:
            return entry
        lineage = (*around[1:], layer)
        self._settled.update(id(inner) for inner in all_layers(layer))
        if not self._include(lineage) or self._exclude(lineage):
            return entry
        self.layers.add(id(layer))
        return twin

    def unmasked(self, model: keras.Model) -> list[str]:
        """Names layers with a matrix of weights and no mask that nobody asked to leave out."""
        return [
            f"'{layer.name}' ({type(layer).__name__})"
            for layer in inner_layers(model)
            if id(layer) not in self._settled and _has_matrix(layer)
        ]


def _has_matrix(layer: keras.Layer) -> bool:
    # PReLU's slopes have a feature map's shape, and connect nothing.
    return not isinstance(layer, keras.layers.PReLU) and any(
        len(variable.shape) > 1 and "bias" not in variable.name
        for variable in own_trainable_variables(layer)
    )


def _as_filter(
    given: LayerFilter | None, argument: str, names: set[str], default: bool
) -> Callable[[tuple[keras.Layer, ...]], bool]:
    if given is None:
        return lambda lineage: default
    if callable(given):
        return lambda lineage: bool(given(lineage[-1]))
    wanted = [given] if isinstance(given, str) else given
    if not isinstance(wanted, Iterable) or not all(isinstance(name, str) for name in wanted):
        raise TypeError(f"`{argument}` must be layer names or a function of a layer, got {given!r}")
    wanted = set(wanted)
    if unknown := sorted(wanted - names):
        raise ValueError(
            f"`{argument}` names layers that the model does not have: {', '.join(unknown)}; it "
            f"has {', '.join(sorted(names))}"
        )
    return lambda lineage: any(layer.name in wanted for layer in lineage)


def _warn_of_unmasked(names: list[Any]) -> None:
    if names:
        warnings.warn(
            f"sparsify left without masks: {', '.join(names)}; only exactly the supported classes "
            f"have masked twins ({', '.join(SUPPORTED)})",
            stacklevel=3,
        )
