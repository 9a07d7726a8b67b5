"""Makes trained models compact: their kernels become products of small factors."""

import functools
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np

from hlstm_tf import layers
from hlstm_tf.factorization.nearest import (
    rank_for_energy,
)
from hlstm_tf.factorization.trained_kernels import (
    TrainedKernel,
    input_moments,
    trained_kernels,
    with_targets,
)
from hlstm_tf.keras_internals import own_trainable_variables
from hlstm_tf.layers.kronecker import Kronecker
from hlstm_tf.layers.low_rank import LowRank, SharedLowRank
from hlstm_tf.layers.matrix_forms import MatrixForm, forms_config
from hlstm_tf.scoring.data import check_inputs, training_batches
from hlstm_tf.transforms.editing import weight
from hlstm_tf.transforms.rewriting import Entry, check_model, copy_state, rebuild
from hlstm_tf.transforms.twins import keras_class, plain_entry
from hlstm_tf.transforms.verification import check_same_function

_COMPACT: dict[type, type[keras.layers.Layer]] = {
    keras.layers.Dense: layers.CompactDense,
    keras.layers.SimpleRNN: layers.CompactSimpleRNN,
    keras.layers.SimpleRNNCell: layers.CompactSimpleRNNCell,
    keras.layers.LSTM: layers.CompactLSTM,
    keras.layers.LSTMCell: layers.CompactLSTMCell,
    keras.layers.GRU: layers.CompactGRU,
    keras.layers.GRUCell: layers.CompactGRUCell,
    layers.HLSTM: layers.HLSTM,
    layers.HLSTMCell: layers.HLSTMCell,
}
Choose = Callable[["TrainedKernel"], MatrixForm | None]


def factorize(
    model: keras.Model,
    form: MatrixForm | type[MatrixForm] = SharedLowRank,
    *,
    ranks: int | Mapping[str, int] | None = None,
    parameters: float | None = None,
    energy: float | None = None,
    data: Any = None,
    batch_size: int = 32,
    print_fn: Callable[[str], Any] | None = print,
) -> keras.Model:
    """Makes a trained model compact: its kernels are replaced by the factors nearest to them.

    Dense and recurrent layers (`Dense`, `SimpleRNN`, `LSTM`, `GRU` and their cells, also inside
    `Bidirectional`, `RNN` and nested models, masked or not; `HLSTM` with hidden layers) become
    `CompactDense`, `CompactLSTM` and so on. A low-rank kernel is the truncated singular value
    decomposition of the trained one; with `SharedLowRank`, of all gates side by side. With `data`
    it is the one whose *outputs* over the data are nearest: the principal components of what the
    matrix gives, seen through the second moment of its inputs; and the result is compared on the
    first batch with the model whose kernels are what the factors stand for. A kernel that would get
    no smaller stays dense. A regularizer or constraint of a kernel holds for each of its factors.
    Train the result with plain `fit` to win back accuracy, or give it masks
    with `hl.sparsify` and GP-train it.

    Args:
        model: A built, trained model; it is left as it is.
        form: `hl.SharedLowRank` (default: the gates share a projection), `hl.LowRank` or
            `hl.Kronecker`; or a form with its size, such as `hl.LowRank(32)`, without the three
            arguments after it.
        ranks: The rank of every kernel, or of those named as the table names them
            (`{"lstm/recurrent_kernel": 16}`); others stay dense, and so do, with one rank for all,
            matrices of a lower rank.
        parameters: The fraction of each kernel's weights that its factors may have.
        energy: The fraction of the squared norm of each kernel's outputs (without `data`, of its
            weights) that the least sufficient rank keeps. For low rank.
        data: Typical inputs, as `model.fit` takes them: arrays, a `tf.data.Dataset` or a
            `PyDataset`; targets are not used. At least as many rows as the widest matrix has
            inputs; steps of sequences are rows. Default: none, all inputs count alike.
        batch_size: How arrays are batched.
        print_fn: Takes a table of the kernels: form, weights, relative error of the kernel's
            outputs over the data or, where they are not known, of its weights. Default `print`;
            `None` prints nothing.

    Returns:
        A new model of the same kind, not compiled.

    Raises:
        TypeError: `model` is no Keras model, or `form` no form.
        ValueError: The model is not built or cannot be rewritten; not exactly one size is given; it
            is out of range; a name in `ranks` is no kernel's; or the data have too few rows.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 16)), keras.layers.LSTM(32)])
    >>> x = np.random.default_rng(0).standard_normal((20, 10, 16)).astype("float32")
    >>> compact = hl.factorize(model, parameters=0.25, data=x, print_fn=None)
    >>> model.count_params(), compact.count_params()
    (6272, 1520)
    >>> compact(x).shape
    TensorShape([20, 32])
    """
    check_model(model)
    choose = _chooser(form, ranks, parameters, energy)
    data = None if data is None else with_targets(data)
    batch = None if data is None else _first_inputs(model, data, batch_size)
    moments = {} if data is None else input_moments(model, data, batch_size)
    kernels = list(trained_kernels(model, moments))
    _check_names(ranks, kernels)
    for kernel in kernels:
        try:
            kernel.take(choose(kernel))
        except ValueError as error:
            raise ValueError(f"{kernel.path}: {error}") from None
    if all(kernel.form is None for kernel in kernels):
        raise ValueError(
            "no kernel gets smaller by these factors; ask for a lower rank or energy, or for a "
            f"larger fraction of parameters. The kernels: {_shapes(kernels)}."
        )
    new = rebuild(model, functools.partial(_compact_entry, _by_layer(kernels)))
    copy_state(model, new, _arrays(kernels, TrainedKernel.arrays))
    if data is not None:
        _verify(model, new, kernels, batch)
    if print_fn is not None:
        print_fn(_table(kernels))
    return new


def _first_inputs(model: keras.Model, data: Any, batch_size: int) -> Any:
    """The inputs of the first batch, checked."""
    batch = next(iter(training_batches(data, batch_size)))
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    given, takes = len(keras.tree.flatten(x)), len(getattr(model, "inputs", None) or [0])
    if given < takes:
        raise ValueError(
            f"factorize: data give {given} input where the model takes {takes}; a tuple is read as "
            "(x, y), so give a dictionary by the inputs' names, or a list."
        )
    check_inputs(model, x, "factorize")
    return x


def _chooser(form: Any, ranks: Any, parameters: Any, energy: Any) -> Choose:
    """What chooses each kernel's form, of the arguments of `factorize`."""
    sizes = {"ranks": ranks, "parameters": parameters, "energy": energy}
    given = [name for name, value in sizes.items() if value is not None]
    if isinstance(form, (LowRank, Kronecker)):
        if given:
            raise ValueError(f"{form!r} has its size already; leave out {', '.join(given)}.")
        if isinstance(form, Kronecker):
            return lambda kernel: form if len(kernel.names) == 1 else None
        size = {"ranks": form.rank} if form.rank else {"parameters": form.parameters_kept}
        return _chooser(type(form), size.get("ranks"), size.get("parameters"), None)
    if form not in (LowRank, SharedLowRank, Kronecker):
        raise TypeError(
            "form must be hl.SharedLowRank, hl.LowRank or hl.Kronecker, or one of them with its "
            f"size, such as hl.LowRank(32); got {form!r}."
        )
    if len(given) != 1:
        raise ValueError(
            "give exactly one of ranks=32, parameters=0.25 and energy=0.95; got "
            f"{', '.join(given) or 'none'}."
        )
    if form is Kronecker and parameters is None:
        raise ValueError(f"hl.Kronecker takes parameters=FRACTION; got {given[0]}.")
    if ranks is not None:
        return functools.partial(_by_rank, form, ranks)
    [fraction] = [value for value in (parameters, energy) if value is not None]
    if not _is_fraction(fraction):
        raise ValueError(f"{given[0]} must be above 0 and below 1; got {fraction!r}.")
    if energy is not None:
        return functools.partial(_by_energy, form, energy)
    return functools.partial(_by_parameters, form, parameters)


def _is_fraction(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < 1


def _by_rank(form: Any, ranks: Any, kernel: TrainedKernel) -> MatrixForm | None:
    rank = ranks.get(kernel.path) if isinstance(ranks, Mapping) else ranks
    if rank is None:
        return None
    made = form(rank)
    try:
        for shape in kernel.shapes:
            made.rank_of(shape)
    except ValueError as error:
        if not isinstance(ranks, Mapping):
            return None  # one rank for all: what is smaller stays dense
        raise error
    return made


def _by_parameters(form: Any, parameters: float, kernel: TrainedKernel) -> MatrixForm | None:
    if form is Kronecker and len(kernel.names) > 1:
        return None  # of gates of different widths, which take low rank only
    made = form(parameters=parameters)
    try:
        for shape in kernel.shapes:
            made.factors(shape)
    except ValueError:  # not even the fewest weights are within it
        return None
    # Of gates of different widths, which have variables of their own, the least rank.
    return made if form is Kronecker else form(min(made.rank_of(shape) for shape in kernel.shapes))


def _by_energy(form: Any, energy: float, kernel: TrainedKernel) -> MatrixForm | None:
    parts = zip(kernel.shapes, kernel.matrices, kernel.roots, strict=True)
    rank = max(rank_for_energy(form, *part, energy) for part in parts)
    # Of gates of different widths the narrowest may not have this rank.
    return _by_rank(form, rank, kernel)


def _check_names(ranks: Any, kernels: Sequence[TrainedKernel]) -> None:
    known = [kernel.path for kernel in kernels]
    if not known:
        raise ValueError(
            "the model has no dense or recurrent layer whose kernels can be factorized; layers "
            "with recurrent_dropout, quantized, LoRA-adapted and compact ones cannot."
        )
    unknown = sorted(set(ranks) - set(known)) if isinstance(ranks, Mapping) else []
    if unknown:
        raise ValueError(f"ranks names {unknown}; the kernels are {known}.")


def _shapes(kernels: Sequence[TrainedKernel]) -> str:
    return ", ".join(f"{kernel.path} {kernel.shapes[0]}" for kernel in kernels)


def _by_layer(kernels: Sequence[TrainedKernel]) -> dict[int, list[TrainedKernel]]:
    found: dict[int, list[TrainedKernel]] = {}
    for kernel in kernels:
        if kernel.form is not None:
            found.setdefault(id(kernel.layer), []).append(kernel)
    return found


def _compact_entry(
    by_layer: Mapping[int, list[TrainedKernel]],
    layer: keras.layers.Layer,
    entry: Entry,
    around: tuple[keras.layers.Layer, ...],
) -> Entry:
    """The entry of a layer, with the forms of its kernels where they have some."""
    makes_cell = isinstance(layer, keras.layers.RNN) and "cell" not in entry["config"]
    kernels = by_layer.get(id(layer.cell if makes_cell else layer))
    if kernels is None:
        return entry
    cls = _COMPACT[keras_class(layer)]
    forms = {kernel.weight: kernel.form for kernel in kernels if kernel.form is not None}
    config = {**entry["config"], "kernel_form": forms_config(forms), "masked": None}
    for name in ("lora_rank", "lora_alpha", "quantization_config", "use_cudnn", "implementation"):
        config.pop(name, None)
    return {
        **{key: value for key, value in entry.items() if key != "build_config"},
        "module": cls.__module__,
        "class_name": cls.__name__,
        "registered_name": keras.saving.get_registered_name(cls),
        "config": config,
    }


def _arrays(
    kernels: Sequence[TrainedKernel], values: Callable[[TrainedKernel], dict[str, np.ndarray]]
) -> dict[int, dict[str, np.ndarray]]:
    """The weights of the layers that have changed, by `id` of the old layer."""
    found = {}
    for key, own in _by_layer(kernels).items():
        layer = own[0].layer
        gone = {name for kernel in own for name in kernel.names}
        rest = [v.name for v in own_trainable_variables(layer) if v.name not in gone]
        arrays = {name: np.asarray(weight(layer, name)) for name in rest}
        found[key] = arrays | {k: v for kernel in own for k, v in values(kernel).items()}
    return found


def _verify(
    model: keras.Model, new: keras.Model, kernels: Sequence[TrainedKernel], batch: Any
) -> None:
    """Compares the result with the model given, whose kernels are what the factors stand for."""
    approximate = rebuild(model, lambda layer, entry, around: plain_entry(layer, entry))
    copy_state(model, approximate, _arrays(kernels, TrainedKernel.dense_arrays))
    check_same_function(approximate, new, batch, "factorize")


def _table(kernels: Sequence[TrainedKernel]) -> str:
    rows = [("kernel", "form", "weights", "of", "error", "of what")]
    for kernel in kernels:
        form = "dense" if kernel.form is None else repr(kernel.form)
        counts = f"{kernel.parameters:,}", f"{kernel.dense_parameters:,}"
        of_what = "its weights" if kernel.roots[0] is None else "its outputs"
        rows.append((kernel.path, form, *counts, f"{kernel.error:.1%}", of_what))
    made = sum(kernel.parameters for kernel in kernels)
    dense = sum(kernel.dense_parameters for kernel in kernels)
    rows.append(("all kernels", "", f"{made:,}", f"{dense:,}", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    texts = [text.ljust(width) for text, width in zip(row[:2], widths, strict=False)]
    counts = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*texts, *counts]).rstrip()
