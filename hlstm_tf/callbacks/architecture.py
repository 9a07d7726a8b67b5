"""One growth of a whole model: scores, rule, mask edit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import edit_masks, grow_all, held_optimizers

from .epoch_gradients import EpochGradients
from .growth_score import DenseGradients, require_masked_kernels
from .input_sizes import input_sizes
from .output_sizes import output_sizes
from .rule import Rule

Arrays = Mapping[MaskedKernel, np.ndarray]


@dataclass
class ScoreSource:
    """Where scores come from: the model's weights, passes of training data, a seed.

    Attributes:
        model: The model to score.
        data: The training set; `None` where no score needs a gradient.
        batch_size: How arrays are batched.
        training: The `training` argument of scoring's forward pass.
        share: Share of the batches that gradients are averaged over.
        seed: Of random scores.
        epoch: What the steps of the running epoch have collected, to score by in place of a pass.
    """

    model: keras.Model
    data: Any = None
    batch_size: int = 32
    training: bool = False
    share: float = 1.0
    seed: int = 0
    epoch: EpochGradients | None = None
    _gradients: DenseGradients | None = None

    def scores(self, rule: Rule, event: int, where: str) -> dict[MaskedKernel, np.ndarray]:
        """Returns each kernel's scores as matrices `(gates, inputs, outputs)`.

        Args:
            rule: Names the score.
            event: Number of the growth or pruning, so that each draws random scores of its own.
            where: What the scores are for, to name it in an error.
        """
        kernels = require_masked_kernels(self.model)
        gradient = self._pass(rule, "gradient", where)
        momentum = self._pass(rule, "momentum", where)
        activation = self._sizes(rule, "activation", input_sizes, where)
        output = self._sizes(rule, "output", output_sizes, where)
        result = {}
        for number, kernel in enumerate(kernels):
            weight = kernel.to_matrices(kernel.variable)
            # From numbers alone, never names: the same in every process.
            result[kernel] = np.stack(
                [
                    rule.score(
                        weight=weight[gate],
                        gradient=_matrix(gradient, kernel, gate),
                        momentum=_matrix(momentum, kernel, gate),
                        activation=_vector(activation, kernel, gate, axis=1),
                        output=_vector(output, kernel, gate, axis=0),
                        rng=np.random.default_rng([self.seed, event, number, gate]),
                    )
                    for gate in range(kernel.gates)
                ]
            )
        return result

    def gradients(self, where: str) -> Arrays:
        """Passes the data and returns each kernel's mean gradient, in its own shape."""
        return self._dense().mean(
            self.data, batch_size=self.batch_size, where=where, share=self.share
        )

    def forget_trace(self) -> None:
        """Forgets the traced function, as after a change of activations."""
        self._gradients = None

    def collect(self) -> None:
        """Makes the training steps collect the gradient to score by."""
        self.epoch = EpochGradients(self.model)
        self.epoch.start()

    def begin_epoch(self) -> None:
        """Forgets what the steps of an earlier epoch collected, where they do."""
        if self.epoch is not None:
            self.epoch.begin_epoch()

    def count(self, batch: int) -> None:
        """Takes note of the number of the step just done, from 0 in each epoch."""
        if self.epoch is not None:
            self.epoch.count(batch)

    def stop_collecting(self) -> None:
        """Goes back to passes of its own."""
        if self.epoch is not None:
            self.epoch.stop()
            self.epoch = None

    def _pass(self, rule: Rule, need: str, where: str) -> Arrays | None:
        if need not in rule.score.needs:
            return None
        if self.epoch is not None:
            return self.epoch.mean(where)
        self._require_data(rule)
        if need == "gradient":
            return self.gradients(where)
        return self._dense().momentum(
            self.data, batch_size=self.batch_size, where=where, share=self.share
        )

    def _dense(self) -> DenseGradients:
        if self._gradients is None:
            self._gradients = DenseGradients(self.model, training=self.training)
        return self._gradients

    def _sizes(
        self, rule: Rule, need: str, measure: Callable[..., Arrays], where: str
    ) -> Arrays | None:
        if need not in rule.score.needs:
            return None
        self._require_data(rule)
        return measure(self.model, self.data, self.batch_size, where, self.share)

    def _require_data(self, rule: Rule) -> None:
        if self.data is None:
            raise ValueError(f"score '{rule.score}' needs the training data; pass it.")


def grow_model(
    source: ScoreSource,
    rule: Rule,
    ratio: float,
    event: int,
    where: str,
    rooms: Arrays | None = None,
) -> int:
    """Activates dormant connections by the growth rule; returns how many.

    New connections start at zero, so the model's function does not change.

    Args:
        source: Where scores come from.
        rule: What ranks, comes together, and shares.
        ratio: Growth ratio.
        event: Number of the growth.
        where: What the growth is for, to name it in an error.
        rooms: The places that count and can grow: for each kernel a mask of some inputs by some
            outputs. All by default.
    """
    scores = source.scores(rule, event, where)
    kernels = list(scores)
    masks = split_matrices(kernels, {k: k.to_matrices(k.mask) for k in kernels})
    all_of = {k: np.ones(k.shape, dtype=bool) for k in kernels} | dict(rooms or {})
    inside = [
        np.ix_(room.any(axis=1), room.any(axis=0))
        for room in split_matrices(kernels, {k: k.to_matrices(all_of[k]) for k in kernels})
    ]
    grown = grow_all(
        [mask[places] for mask, places in zip(masks, inside, strict=True)],
        [
            score[places]
            for score, places in zip(split_matrices(kernels, scores), inside, strict=True)
        ],
        ratio,
        rule.structure,
        rule.distribution,
        [
            (*shape[:-2], shape[-2] * rows.size // mask.shape[0], columns.size)
            for shape, (rows, columns), mask in zip(
                kernel_shapes(kernels), inside, masks, strict=True
            )
        ],
    )
    for mask, places, new in zip(masks, inside, grown, strict=True):
        mask[places] = new
    return edit_masks(join_matrices(kernels, masks), optimizer=held_optimizers(source.model))


def count_connections(kernels: Sequence[MaskedKernel]) -> tuple[int, int]:
    """Returns how many connections exist, and how many places there are."""
    existing = sum(int(np.count_nonzero(keras.ops.convert_to_numpy(k.mask))) for k in kernels)
    return existing, sum(int(np.prod(k.mask.shape)) for k in kernels)


def kernel_shapes(kernels: Sequence[MaskedKernel]) -> list[tuple[int, ...]]:
    """Returns the shape that counts for ERK, one a matrix: a convolution's in full."""
    return [
        tuple(k.variable.shape) if k.gates == 1 else tuple(k.to_matrices(k.mask).shape[1:])
        for k in kernels
        for _ in range(k.gates)
    ]


def _matrix(arrays: Arrays | None, kernel: MaskedKernel, gate: int) -> np.ndarray | None:
    return None if arrays is None else kernel.to_matrices(arrays[kernel])[gate]


def _vector(arrays: Arrays | None, kernel: MaskedKernel, gate: int, axis: int) -> np.ndarray | None:
    return None if arrays is None else np.expand_dims(arrays[kernel][gate], axis)


def split_matrices(kernels: Sequence[MaskedKernel], stacked: Arrays) -> list[np.ndarray]:
    """Returns the matrices of all kernels, gate by gate, from one stack a kernel."""
    return [matrix for kernel in kernels for matrix in stacked[kernel]]


def join_matrices(
    kernels: Sequence[MaskedKernel], matrices: Sequence[np.ndarray]
) -> dict[MaskedKernel, np.ndarray]:
    """Returns each kernel's array, in its own shape, from the matrices of all."""
    remaining = iter(matrices)
    stacked = {
        kernel: np.stack([next(remaining) for _ in range(kernel.gates)]) for kernel in kernels
    }
    return {kernel: kernel.from_matrices(gates) for kernel, gates in stacked.items()}
