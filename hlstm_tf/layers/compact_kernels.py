"""Kernels of layers that factors take the place of: their variables, masks and operators."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from hlstm_tf.layers.cells import compact_kernels, form_of
from hlstm_tf.layers.masking import MaskedLayer
from hlstm_tf.layers.matrix_forms import (
    Factor,
    KernelShape,
    MatrixForm,
    generator_of,
    side_by_side,
)
from hlstm_tf.layers.operators import Operator

KernelForm = MatrixForm | Mapping[str, MatrixForm | None] | None
"""A form for all kernels, or one for each by its name; `None` for a dense one."""


@dataclass(frozen=True, eq=False)
class CompactKernel:
    """A kernel whose place factors have taken.

    Attributes:
        layer: The layer that has it; of a recurrent layer, its cell.
        name: The kernel's name.
        form: Its form.
        shape: The shape of the dense kernel.
    """

    layer: Any
    name: str
    form: MatrixForm
    shape: KernelShape

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The variables that the form makes."""
        return self.form.factors(self.shape)

    @property
    def names(self) -> list[str]:
        """The attributes of the layer that hold them."""
        return [f"{self.name}_{factor.name}" for factor in self.factors]

    def operators(self) -> Sequence[Operator]:
        """What the factors compute as a forward pass uses them; see `MatrixForm.operators`."""
        return self.form.operators(self.shape, [self.layer.effective(name) for name in self.names])

    def operator(self) -> Operator:
        """The operator of a kernel whose gates read the same inputs."""
        [operator] = self.operators()
        return operator

    def inputs(self, values: Any) -> dict[str, Any]:
        """What the factors multiply when the kernel is applied to `values (..., inputs)`.

        By the names of `names`; a list where each gate has inputs of its own. Factors of which the
        form does not say it are left out.
        """
        factors = [self.layer.effective(name) for name in self.names]
        found = self.form.inputs(self.shape, factors, values)
        return {f"{self.name}_{factor}": inputs for factor, inputs in found.items()}

    def dense(self) -> np.ndarray:
        """The matrices `(gates, inputs, outputs)` that the factors stand for, under their masks."""
        factors = [ops.convert_to_numpy(self.layer.effective(name)) for name in self.names]
        return self.form.dense(self.shape, factors)


class CompactLayer(MaskedLayer):
    """Mixin of layers some of whose kernels have a form other than dense.

    Keras's own `build` asks for each kernel with `add_weight`; for a kernel with a form, the
    factors are made instead, and the attribute of the kernel stays `None`. They begin near to what
    the kernel's initializer draws, with its variance; where it draws zeros, the right factor is
    zero. A regularizer and a constraint of the kernel hold for each factor.
    """

    @property
    def kernel_form(self) -> dict[str, MatrixForm]:
        """The forms of the kernels that are not dense, by the kernels' names."""
        return dict(self.__dict__.get("_kernel_forms", {}))

    def _set_forms(self, forms: Mapping[str, MatrixForm]) -> None:
        # Past Keras's attribute tracking, which would wrap the dictionary.
        self.__dict__["_kernel_forms"] = dict(forms)

    def _form_of_variable(self, name: Any) -> MatrixForm | None:
        form = form_of(self)
        for kernel, given in self.kernel_form.items():
            if name in (form.variables(kernel) if form is not None else (kernel,)):
                return given
        return None

    def kernel_shape(self, name: str, shape: Sequence[int]) -> KernelShape:
        """The matrices that a variable of this name and shape holds."""
        inputs, outputs = shape
        return KernelShape(inputs, outputs)

    def add_weight(self, shape: Any = None, initializer: Any = None, **kwargs: Any) -> Any:
        name = kwargs.get("name")
        form = self._form_of_variable(name)
        if form is None:
            return super().add_weight(shape=shape, initializer=initializer, **kwargs)  # type: ignore[misc]
        kernel = CompactKernel(self, str(name), form, self.kernel_shape(str(name), shape))
        try:
            factors, values = kernel.factors, self._drawn(kernel, shape, initializer)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}, {kernel.name}: {error}") from None
        # Past Keras's attribute tracking, which would wrap the dictionary.
        self.__dict__["_compact_kernels"] = {**compact_kernels(self), kernel.name: kernel}
        for factor, value in zip(factors, values, strict=True):
            made = super().add_weight(  # type: ignore[misc]
                **{**kwargs, "name": f"{name}_{factor.name}"},
                shape=factor.shape,
                initializer=lambda _, dtype, value=value: ops.cast(value, dtype),
            )
            setattr(self, f"{name}_{factor.name}", made)
        return None

    def _drawn(self, kernel: CompactKernel, shape: Any, initializer: Any) -> list[np.ndarray]:
        # Values, wherever the layer is built: Keras traces subclassed models to build them.
        with tf.init_scope():
            dense = keras.initializers.get(initializer)(tuple(shape), dtype="float32")
            matrices = self.to_matrices(kernel.name, ops.convert_to_numpy(dense))
            if matrices.any():
                return kernel.form.initial(kernel.shape, matrices)
            # Two factors of zeros would have no gradient; with one of them drawn, the other learns.
            left, right, *others = self._drawn(kernel, shape, "glorot_uniform")
            return [left, np.zeros_like(right), *others]

    def to_matrices(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array of a dense kernel as `(gates, inputs, outputs)`."""
        gates = self.kernel_shape(name, array.shape).gates
        return np.stack(np.split(array, gates, axis=-1))

    def from_matrices(self, name: str, matrices: np.ndarray) -> np.ndarray:
        """Matrices `(gates, inputs, outputs)` in the shape of the dense kernel."""
        return side_by_side(matrices)

    def add_factor_masks(self) -> None:
        """Gives each factor a mask; what a form says of a factor's density is drawn."""
        for kernel in compact_kernels(self).values():
            for factor, name in zip(kernel.factors, kernel.names, strict=True):
                self._add_masks((name,), factor.gates, factor.gates_first)
                if factor.density < 1:
                    self._draw_mask(kernel, name, factor)

    def _draw_mask(self, kernel: CompactKernel, name: str, factor: Factor) -> None:
        with tf.init_scope():
            drawn = ops.convert_to_numpy(ops.cast(getattr(self, kernel.names[0]), "float32"))
            ranks = generator_of(drawn).permutation(math.prod(factor.shape))
            exists = ranks < round(factor.density * ranks.size)
            getattr(self, f"{name}_mask").assign(exists.reshape(factor.shape))
