"""Scores of all masked kernels of a model, from its weights, its data, or its training steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel, require_masked_kernels
from hlstm_tf.scoring.gradients import DenseGradients
from hlstm_tf.scoring.sizes import input_sizes, output_sizes
from hlstm_tf.scoring.step_gradients import EpochGradients
from hlstm_tf.sparsity import Score

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

    def scores(self, score: Score, event: int, where: str) -> dict[MaskedKernel, np.ndarray]:
        """Returns each kernel's scores as matrices `(gates, inputs, outputs)`.

        Args:
            score: The score.
            event: Number of the growth or pruning, so that each draws random scores of its own.
            where: What the scores are for, to name it in an error.
        """
        kernels = require_masked_kernels(self.model)
        gradient = self._pass(score, "gradient", where)
        momentum = self._pass(score, "momentum", where)
        activation = self._sizes(score, "activation", input_sizes, where)
        output = self._sizes(score, "output", output_sizes, where)
        result = {}
        for number, kernel in enumerate(kernels):
            weight = kernel.to_matrices(kernel.variable)
            # From numbers alone, never names: the same in every process.
            result[kernel] = np.stack(
                [
                    score(
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

    def _pass(self, score: Score, need: str, where: str) -> Arrays | None:
        if need not in score.needs:
            return None
        if self.epoch is not None:
            return self.epoch.mean(where)
        self._require_data(score)
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
        self, score: Score, need: str, measure: Callable[..., Arrays], where: str
    ) -> Arrays | None:
        if need not in score.needs:
            return None
        self._require_data(score)
        return measure(self.model, self.data, self.batch_size, where, self.share)

    def _require_data(self, score: Score) -> None:
        if self.data is None:
            raise ValueError(f"score '{score}' needs the training data; pass it.")


def _matrix(arrays: Arrays | None, kernel: MaskedKernel, gate: int) -> np.ndarray | None:
    return None if arrays is None else kernel.to_matrices(arrays[kernel])[gate]


def _vector(arrays: Arrays | None, kernel: MaskedKernel, gate: int, axis: int) -> np.ndarray | None:
    return None if arrays is None else np.expand_dims(arrays[kernel][gate], axis)
