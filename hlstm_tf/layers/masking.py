"""Masks: which connections of a layer exist, and how layers keep and apply them.

Every masked layer keeps, for each of its kernels, a boolean variable of the kernel's shape. These
rules make a dormant connection's weight exactly zero at all times:

* the forward pass applies the mask once a call, `where(mask, kernel, 0)`, so neither the output nor
  the gradient knows a dormant weight;
* a constraint zeroes dormant weights after every optimizer step, whatever the optimizer does;
* loading, saving and `set_weights` zero them too.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.keras_check import check_keras, refuse_keras_2
from hlstm_tf.keras_internals import child_layers
from hlstm_tf.layers.kernels import (
    EffectiveKernel,
    MaskedKernel,
    Watch,
    apply_mask,
    dense_gradients,
    effective_weight,
    in_force,
    kernels_in_force,
)

__all__ = [
    "DormantStayZero",
    "EffectiveKernel",
    "MaskedKernel",
    "MaskedLayer",
    "dense_gradients",
    "layers_within",
    "masked_kernels",
    "require_masked_kernels",
    "set_weights_under_masks",
    "watch_gradient",
]


class DormantStayZero(keras.constraints.Constraint):
    """Zeroes dormant weights after an optimizer step, and after the user's own constraint.

    No gradient reaches a dormant weight, but some optimizers move weights without one: Muon mixes
    the entries of a matrix, others add noise. The constraint holds them at zero as well.

    It belongs to a variable, not to a configuration: a layer makes it anew when it is built.

    Args:
        mask: Boolean variable, `True` where a connection exists.
        inner: The user's constraint on the kernel, applied first; `None` for none.
    """

    def __init__(self, mask: keras.Variable, inner: Callable[[Any], Any] | None = None) -> None:
        self.mask = mask
        self.inner = inner

    def __call__(self, w: Any) -> Any:
        value = ops.convert_to_tensor(w) if self.inner is None else self.inner(w)
        return apply_mask(self.mask, value)


def watch_gradient(kernel: MaskedKernel, watch: Watch | None) -> None:
    """Lets every pass through a kernel call `watch`, from the next tracing on.

    Args:
        kernel: The kernel.
        watch: Called in every forward pass. What it returns is called in the backward pass, with
            the gradient with respect to the effective weight, of the kernel's shape, dormant
            places included. `None` ends it.
    """
    watches = dict(kernel.layer.__dict__.get("_watches", {}))
    watches.pop(kernel.name, None)
    if watch is not None:
        watches[kernel.name] = watch
    # Past Keras's attribute tracking, as the masks' dictionary.
    kernel.layer.__dict__["_watches"] = watches


class MaskedLayer:
    """Mixin of layers with masks: creates them, applies them, saves and loads them.

    A subclass calls `_add_masks` at the end of `build` and runs its forward pass inside
    `effective_kernels()`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_keras_2(args, f"{type(self).__name__} '{self.name}'")  # type: ignore[attr-defined]
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def _add_masks(
        self,
        names: tuple[str, ...],
        gates: int = 1,
        gates_first: bool = False,
        output_axes: tuple[int, ...] = (-1,),
    ) -> None:
        """Adds an all-`True` mask variable `NAME_mask` for each kernel attribute named."""
        masked = dict(self.__dict__.get("_masked", {}))
        for name in names:
            variable = self._kernel_variable(name)
            mask = self.add_weight(  # type: ignore[attr-defined]
                name=f"{name}_mask",
                shape=variable.shape,
                dtype="bool",
                initializer="ones",
                trainable=False,
            )
            setattr(self, f"{name}_mask", mask)
            variable.constraint = DormantStayZero(mask, variable.constraint)
            masked[name] = MaskedKernel(
                self,
                name,
                variable,
                mask,
                gates,
                gates_first,
                variable.path,
                output_axes,
            )
        # Not through Keras's attribute tracking, which would wrap the dictionary.
        self.__dict__["_masked"] = masked

    def _kernel_variable(self, name: str) -> keras.Variable:
        # Dense, Conv and Embedding keep the variable as `_kernel` behind a property.
        private = self.__dict__.get(f"_{name}")
        return private if private is not None else self.__dict__[name]

    def own_masked_kernels(self) -> list[MaskedKernel]:
        """The kernels of this layer itself, in the order they were made; empty before `build`."""
        return list(self.__dict__.get("_masked", {}).values())

    def mask_names(self) -> set[str]:
        """Under which names this layer's masks are saved, which the plain layer does not know."""
        return {f"{kernel.name}_mask" for kernel in self.own_masked_kernels()}

    @contextlib.contextmanager
    def effective_kernels(self) -> Iterator[None]:
        """While entered, this layer's kernel attributes give the masked, cast tensors."""
        handles = self.own_masked_kernels()
        if not handles or in_force(self) is not None:
            yield
            return
        kernels = {
            handle.name: effective_weight(
                handle.mask, ops.convert_to_tensor(handle.variable), self._watch(handle.name)
            )
            for handle in handles
        }
        with kernels_in_force(self, kernels):
            yield

    def effective(self, name: str) -> Any:
        """The kernel called `name` as the forward pass uses it, in the compute dtype."""
        kernels = in_force(self)
        if kernels is not None:
            return kernels[name]
        value = ops.convert_to_tensor(self._kernel_variable(name))
        handle = self.__dict__.get("_masked", {}).get(name)
        if handle is None:
            return value
        return effective_weight(handle.mask, value, self._watch(name))

    def _watch(self, name: str) -> Watch | None:
        return self.__dict__.get("_watches", {}).get(name)

    def set_weights(self, weights: Any) -> None:
        """Sets all weights, masks included, or those of the unmasked layer under the masks."""
        set_weights_under_masks(self, super().set_weights, weights)  # type: ignore[misc]

    def save_own_variables(self, store: Any) -> None:
        """Saves Keras's entries as the unmasked layer does, and each mask under its own name."""
        handles = self.own_masked_kernels()
        masks = {id(handle.mask) for handle in handles}
        kernels = {id(handle.variable): handle for handle in handles}
        for key, value in self._plain_store().items():
            if id(value) in kernels:
                # Keras writes an optimizer's moving averages into the weights after the last
                # step, behind every constraint's back.
                store[key] = apply_mask(kernels[id(value)].mask, value.value)
            elif id(value) not in masks:
                store[key] = value
        for handle in handles:
            store[f"{handle.name}_mask"] = handle.mask

    def load_own_variables(self, store: Any) -> None:
        """Loads weights and masks; a file of the unmasked layer loads under the masks in force."""
        handles = self.own_masked_kernels()
        masks = {id(handle.mask): f"{handle.name}_mask" for handle in handles}
        keys = set(store.keys())
        for handle in handles:
            if f"{handle.name}_mask" in keys:
                handle.check_shape(np.shape(store[f"{handle.name}_mask"]))
        plain = {key: store[key] for key in keys if key not in masks.values()}
        # Keras's loaders count a layer's variables, masks included, so each mask goes along:
        # under its number where Keras saves it, else under its name, which Keras's loader skips.
        numbered = {id(value): key for key, value in self._plain_store().items()}
        for handle in handles:
            key = numbered.get(id(handle.mask), masks[id(handle.mask)])
            plain[key] = ops.convert_to_numpy(handle.mask)
        super().load_own_variables(plain)  # type: ignore[misc]
        for handle in handles:
            if f"{handle.name}_mask" in keys:
                handle.mask.assign(np.asarray(store[f"{handle.name}_mask"]).astype(bool))
            handle.variable.assign(apply_mask(handle.mask, handle.variable.value))

    def _plain_store(self) -> dict[str, Any]:
        store: dict[str, Any] = {}
        super().save_own_variables(store)  # type: ignore[misc]
        return store


def set_weights_under_masks(
    layer: Any, set_weights: Callable[[list[Any]], None], weights: list[Any]
) -> None:
    """Sets a masked layer's weights and zeroes what is dormant.

    Args:
        layer: The layer.
        set_weights: Keras's own `set_weights` of the layer.
        weights: An array for each of the layer's weights, or for each that is not a mask: then the
            masks stay as they are.
    """
    handles = masked_kernels(layer)
    masks = {id(handle.mask) for handle in handles}
    variables = layer.weights
    if masks and len(weights) == len(variables) - len(masks):
        given = iter(weights)
        weights = [v.numpy() if id(v) in masks else next(given) for v in variables]
    set_weights(weights)
    for handle in handles:
        handle.variable.assign(apply_mask(handle.mask, handle.variable.value))


def masked_kernels(model: keras.Layer) -> list[MaskedKernel]:
    """Finds every masked kernel of a model or layer, however nested, each once.

    Cells inside `RNN`, `Bidirectional` and `StackedRNNCells`, layers inside `TimeDistributed`,
    nested models and shared layers are all found.

    Args:
        model: A built model or layer.

    Returns:
        The handles, in the order of the layers; two with the same path get a number appended.

    Raises:
        TypeError: `model` is not a Keras layer or model.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((None, 4)), hl.HLSTM(3, hidden_units=2)])
    >>> [handle.name for handle in hl.masked_kernels(model)]
    ['kernel', 'recurrent_kernel', 'output_kernel']
    """
    check_keras(model, keras.Layer, "model")
    found: list[MaskedKernel] = []
    taken: set[str] = set()
    for layer in layers_within(model):
        if isinstance(layer, MaskedLayer):
            found.extend(_with_unique_path(handle, taken) for handle in layer.own_masked_kernels())
    return found


def require_masked_kernels(model: keras.Model) -> list[MaskedKernel]:
    """Returns the model's masked kernels, or says how to get some.

    Raises:
        ValueError: There is none.
    """
    kernels = masked_kernels(model)
    if not kernels:
        raise ValueError(
            f"model '{model.name}' has no masked kernel, so nothing can grow or be pruned. Build "
            "it, and give its layers masks: model = hl.sparsify(model)."
        )
    return kernels


def layers_within(layer: keras.Layer, seen: set[int] | None = None) -> Iterator[keras.Layer]:
    """The layer and all that it holds, each once, outer before inner and first before second."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    for inner in child_layers(layer):
        yield from layers_within(inner, seen)


def _with_unique_path(handle: MaskedKernel, taken: set[str]) -> MaskedKernel:
    path = unique_path(handle.path, taken)
    return handle if path == handle.path else replace(handle, path=path)


def unique_path(path: str, taken: set[str]) -> str:
    """A path that is not taken, with a number appended where need be; it is taken from then on.

    >>> taken: set[str] = set()
    >>> [unique_path("d/kernel", taken) for _ in range(2)]
    ['d/kernel', 'd/kernel_2']
    """
    free, count = path, 1
    while free in taken:
        count += 1
        free = f"{path}_{count}"
    taken.add(free)
    return free
