"""Connections come back that a pruning removed and retraining cannot do without."""

import numpy as np
from keras import ops

from hlstm_tf.layers.masking import MaskedKernel, require_masked_kernels
from hlstm_tf.pruning.dead_neurons import without_dead_neurons
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import edit_masks, held_optimizers, recover
from hlstm_tf.training_run.snapshot import Snapshot, model_variables


def recover_connections(source: ScoreSource, before: Snapshot, share: float, where: str) -> int:
    """Gives connections back that a pruning removed, with the weight they had.

    Which, the rule `hlstm_tf.sparsity.recover` says, matrix by matrix. A connection of a hidden
    neuron of an H-LSTM gate that is dead at its other end stays away.

    Args:
        source: The model in retraining, and the training data, for the gradient.
        before: The state that was pruned.
        share: How many of the removed connections may come back.
        where: What it is for, to name it in an error.

    Returns:
        How many came back.
    """
    # The arrays of the optimizers follow those of the model.
    then = dict(zip(map(id, model_variables(source.model)), before.arrays, strict=False))
    gradients = source.gradients(where)
    masks, values = {}, {}
    for kernel in require_masked_kernels(source.model):
        values[kernel] = then[id(kernel.variable)].astype(np.float32)
        parts = (
            _now(kernel),
            then[id(kernel.mask)] & ~_now(kernel),
            values[kernel],
            gradients[kernel],
        )
        by_gate = zip(*(kernel.to_matrices(part) for part in parts), strict=True)
        masks[kernel] = kernel.from_matrices(
            np.stack(
                [
                    recover(mask, removed, weight, gradient, share)
                    for mask, removed, weight, gradient in by_gate
                ]
            )
        )
    # The masks in force are swept already, so that only what came back can go.
    optimizers = held_optimizers(source.model)
    return edit_masks(masks | without_dead_neurons(masks), optimizers, values)


def _now(kernel: MaskedKernel) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(kernel.mask))
