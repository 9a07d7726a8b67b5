"""Strip and shrink: masks off, and dead neurons out."""

from typing import Any

import keras

from hlstm_tf.keras_internals import all_layers
from hlstm_tf.layers import masked_kernels
from hlstm_tf.transforms.editing import WeightStore
from hlstm_tf.transforms.groups import propagate_all
from hlstm_tf.transforms.model_graph import hidden_layers, layer_groups
from hlstm_tf.transforms.ranks import compact_ranks
from hlstm_tf.transforms.rewriting import Entry, check_model, copy_state, rebuild
from hlstm_tf.transforms.twins import plain_entry
from hlstm_tf.transforms.verification import check_same_function


def strip(model: keras.Model, verify_with: Any = None) -> keras.Model:
    """Returns the same function as plain layers, with zeros where connections are dormant.

    Every masked twin becomes its Keras layer and every `HLSTM` one without masks; a model without
    masks is copied. Names, weights, random state and trainable flags are kept; the compiled state
    is not: compile the new model. The model given is left as it is.

    Args:
        model: A built model: Sequential, functional or subclassed, as `sparsify` takes.
        verify_with: A batch of inputs on which both models are compared. Default: no check.

    Returns:
        A new model of the same kind.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built or cannot be rewritten, or the two models differ on the batch.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((8,)), hl.MaskedDense(4)])
    >>> plain = hl.strip(model)
    >>> type(plain.layers[0]).__name__, len(plain.weights)
    ('Dense', 2)
    """
    check_model(model)
    new = rebuild(model, _plain)
    copy_state(model, new)
    if verify_with is not None:
        check_same_function(model, new, verify_with, "strip")
    return new


def _plain(layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
    return plain_entry(layer, entry)


def shrink(model: keras.Model, verify_with: Any = None) -> keras.Model:
    """Returns the same function with the dead neurons gone.

    Zeros save bytes; only weights that are physically gone save time. A neuron is dead if nothing
    reads it, or if nothing feeds it: then it puts out a constant, which goes into the biases of
    what reads it (a bias is added where a dense layer or convolution has none). Deaths are
    followed through the whole model, both ways.

    Neurons are: the hidden neurons of H-LSTM gates, units of dense layers, filters of convolutions,
    columns of embeddings and units of a recurrent layer's state (h and c together), wherever their
    output reaches only dense layers, convolutions and recurrent layers, on the way through
    activations, dropout, pooling, padding, cropping, upsampling, Flatten, Reshape, batch
    normalization and depthwise convolutions with a multiplier of 1; in Sequential and functional
    models and in those nested in them. A unit of a state is dead if only dead units read it; a
    `stateful` layer of the new model begins at zero. States that are handed over (`return_state`,
    `initial_state`) keep their width, and the two directions of a bidirectional layer stay equally
    wide. A custom layer is passed through if it
    has the attribute `neuronwise = True`, by which it states that it treats every feature of the
    last axis by itself, gives zero for zero and has no weights. The output of the model, of a layer
    called several times and of any other layer keeps its width, and every layer keeps at least one
    neuron. A low-rank kernel loses the ranks of which a column or a row is all zero. Each H-LSTM
    gate becomes as wide as its own living neurons: `hidden_units` then has an
    entry of four widths where they differ. A constant that padding with zeros would make different
    at a border is left where it is.

    Masks are applied and left out. The model given is left as it is; the new one is not compiled.
    It has the same function in inference; trained further it differs where dropout or the
    statistics of batch normalization saw the neurons that are gone.

    Args:
        model: A built model, masked or plain.
        verify_with: A batch of inputs on which both models are compared. Default: no check.

    Returns:
        A new model of the same kind, of plain layers.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built or cannot be rewritten, or the two models differ on the batch.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="relu"),
    ...                           keras.layers.Dense(2)])
    >>> kernel, bias = model.layers[0].get_weights()
    >>> kernel[:, 1:3] = 0  # two neurons without inputs
    >>> model.layers[0].set_weights([kernel, bias])
    >>> hl.shrink(model, verify_with=np.ones((1, 8), "float32")).layers[0].units
    2
    """
    check_model(model)
    masked = bool(masked_kernels(model))
    store = WeightStore()
    groups = layer_groups(model, store)
    for cell in hidden_layers(model, store):
        groups += [group for gates in cell.groups for group in gates]
    propagate_all(groups)
    for group in groups:
        group.compact()
    compact_ranks(model, store)

    def narrowed(layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
        return _narrowed(layer, plain_entry(layer, entry) if masked else entry, store)

    new = rebuild(model, narrowed)
    copy_state(model, new, store.arrays())
    if verify_with is not None:
        check_same_function(model, new, verify_with, "shrink")
    return new


def _narrowed(layer: keras.Layer, entry: Entry, store: WeightStore) -> Entry:
    # A layer such as LSTM makes its cell itself, of arguments that are the layer's own.
    makes_cell = isinstance(layer, keras.layers.RNN) and "cell" not in entry["config"]
    owner = layer.cell if makes_cell else layer
    entry = {**entry, "config": {**entry["config"], **store.arguments(owner)}}
    if any(id(inner) in store.touched for inner in all_layers(layer)):
        # It holds the shapes of before; the model around builds its layers anew.
        entry.pop("build_config", None)
    return entry
