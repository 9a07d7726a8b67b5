"""Convolution that uses each slice of its kernel in a part of the picture only."""

from typing import Any

import keras
import numpy as np
from keras import ops

from hlstm_tf.layers.convolutions import MaskedConv2D


@keras.saving.register_keras_serializable(package="hlstm_tf")
class PartialAreaConv2D(MaskedConv2D):
    """`MaskedConv2D` with an area for each pair of an input and an output map.

    The area of input map m and output map n tells at which positions of the output the product of
    m and the pair's slice of the kernel is used; elsewhere it counts as zero (NeST, arXiv
    1711.02017, partial-area convolution). With areas that are all in use, as they are when built,
    the layer is `MaskedConv2D`, to rounding. `hlstm_tf.AreaPruning` narrows them.

    It takes the arguments of `keras.layers.Conv2D`, and `masked` by name; it has `groups=1`,
    channels last, equal strides, and pictures of a fixed size, which the areas are made for.
    Weights are those of `MaskedConv2D`, and last `area`, a boolean variable `(height, width,
    channels, filters)` of the output's height and width.

    It computes a depthwise convolution, times the areas, summed over input maps. So a product that
    is not used still takes its time on ordinary hardware, and memory of batch times the area's
    size; the FLOPs that `hlstm_tf.summary` counts are those of a machine that leaves it out.

    Args:
        *args: `keras.layers.Conv2D`'s.
        masked: Whether the kernel has a mask. `hlstm_tf.strip` sets it to `False`, or makes a plain
            `Conv2D` where all areas are in use.
        **kwargs: `keras.layers.Conv2D`'s.

    Raises:
        ValueError: For other groups, formats or strides; when built, if the input's height, width
            or channels are not fixed.

    Example:

    >>> import numpy as np, hlstm_tf as hl
    >>> layer = hl.PartialAreaConv2D(1, 1, kernel_initializer="ones")
    >>> x = np.ones((1, 2, 2, 3), "float32")
    >>> layer(x).numpy()[0, :, :, 0].tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    >>> area = np.ones((2, 2, 3, 1), bool)
    >>> area[0, 1, 0] = area[0, 1, 1] = False
    >>> _ = layer.area.assign(area)
    >>> layer(x).numpy()[0, :, :, 0].tolist()
    [[3.0, 1.0], [3.0, 3.0]]
    """

    area: keras.Variable

    def __init__(self, *args: Any, masked: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.masked = bool(masked)
        for name, value, expected in (
            ("groups", self.groups, 1),
            ("data_format", self.data_format, "channels_last"),
        ):
            if value != expected:
                raise ValueError(f"{name} must be {expected!r} in PartialAreaConv2D; got {value!r}")
        if self.strides[0] != self.strides[1]:
            raise ValueError(f"strides must be equal in PartialAreaConv2D; got {self.strides}")

    def build(self, input_shape: Any = None) -> None:
        if None in tuple(input_shape)[1:]:
            raise ValueError(
                f"PartialAreaConv2D '{self.name}' needs pictures of a fixed size, for its areas; "
                f"got input shape {tuple(input_shape)}. Give keras.Input the height and width."
            )
        if self.masked:
            super().build(input_shape)
        else:
            keras.layers.Conv2D.build(self, input_shape)
        _, height, width, filters = self.compute_output_shape(input_shape)
        self.area = self.add_weight(
            name="area",
            shape=(height, width, input_shape[-1], filters),
            dtype="bool",
            initializer="ones",
            trainable=False,
        )

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        products = self._products(inputs, kernel)
        height, width, channels, filters = tuple(self.area.shape)
        used = ops.reshape(self.area, (1, height, width, channels * filters))
        parts = products * ops.cast(used, products.dtype)
        # Of rank 3, which interpreters sum up faster than rank 5.
        summed = ops.sum(ops.reshape(parts, (-1, channels, filters)), axis=1)
        return ops.reshape(summed, (-1, height, width, filters))

    def products(self, inputs: Any) -> Any:
        """Returns what each pair of maps adds to the output at each position, areas apart.

        Args:
            inputs: `(batch, height, width, channels)`.

        Returns:
            `(batch, height, width, channels, filters)`, of the output's height and width.
        """
        products = self._products(inputs, self.effective("kernel"))
        return ops.reshape(products, (-1, *self.area.shape))

    def _products(self, inputs: Any, kernel: Any) -> Any:
        """As `products`, channels times filters in one axis."""
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=tuple(self.strides),
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=tuple(self.dilation_rate),
        )

    def positions_in_use(self) -> np.ndarray:
        """Returns at how many positions each pair of maps is used; `(channels, filters)`."""
        return np.asarray(ops.convert_to_numpy(self.area)).sum(axis=(0, 1))

    def mask_names(self) -> set[str]:
        return super().mask_names() | {"area"}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "masked": self.masked}

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.built:
            store["area"] = self.area

    def load_own_variables(self, store: Any) -> None:
        """Loads weights, masks and areas; a file of `Conv2D` loads under the areas in force."""
        known = {key: store[key] for key in set(store.keys())}
        known.setdefault("area", ops.convert_to_numpy(self.area))
        super().load_own_variables(known)
        self.area.assign(np.asarray(known["area"]).astype(bool))
