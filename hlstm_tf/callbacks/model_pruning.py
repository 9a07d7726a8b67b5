"""One pruning of a whole model: scores, rule, cascade, mask edit."""

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.sparsity import Whole, edit_masks, held_optimizers, prune_all, prune_all_to

from .architecture import Arrays, ScoreSource, join_matrices, kernel_shapes, split_matrices
from .dead_neurons import fold_constants, without_dead_neurons
from .rule import Rule
from .whole_neurons import prune_wholes


def prune_model(
    source: ScoreSource,
    rule: Rule,
    where: str,
    event: int = 0,
    ratio: float | None = None,
    sparsity: float | None = None,
    enough: Callable[[float], bool] | None = None,
) -> int:
    """Removes connections by the pruning rule, and neurons that died of it; returns how many.

    Args:
        source: Where scores come from.
        rule: What ranks, comes and goes together, and shares.
        where: What the pruning is, to name it in an error.
        event: Number of the pruning.
        ratio: The part of the existing connections to remove, or
        sparsity: the overall sparsity to reach.
        enough: Tells of an overall sparsity whether it is enough. Where it says so of what `ratio`
            leads to, the least ratio of which it says so is taken. Default `None`: `ratio` is.
    """
    scores = source.scores(rule, event, where)
    prune = functools.partial(_pruned, source.model, scores, rule)
    if ratio is not None and enough is not None:
        ratio = _least_ratio(lambda part: enough(_sparsity(prune(part))), ratio)
    edits, swept = prune(ratio, sparsity)
    optimizer = held_optimizers(source.model)
    removed = edit_masks(edits, optimizer=optimizer)
    # Between the two edits a neuron that hears nothing still puts out its bias' constant.
    fold_constants(edits, swept)
    return removed + edit_masks(swept, optimizer=optimizer)


def _pruned(
    model: keras.Model,
    scores: Arrays,
    rule: Rule,
    ratio: float | None,
    sparsity: float | None = None,
) -> tuple[dict[MaskedKernel, np.ndarray], dict[MaskedKernel, np.ndarray]]:
    """Returns the masks after a pruning, and those of gates less the neurons that died of it."""
    kernels = list(scores)
    if isinstance(rule.structure, Whole):
        masks = {k: keras.ops.convert_to_numpy(k.mask) for k in kernels}
        own = rule.score.of_neurons
        edits = prune_wholes(model, masks, scores, rule.structure, ratio, sparsity, own)
    else:
        edits = _pruned_matrices(kernels, scores, rule, ratio, sparsity)
    return edits, without_dead_neurons(edits)


def _sparsity(masks: tuple[Arrays, Arrays]) -> float:
    final = {**masks[0], **masks[1]}.values()
    return 1 - sum(int(np.count_nonzero(m)) for m in final) / sum(m.size for m in final)


def _least_ratio(enough: Callable[[float], bool], most: float) -> float:
    """Returns the least ratio that is enough, to a millionth, or `most` where that is not."""
    if not enough(most):
        return most
    low, high = 0.0, most
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _pruned_matrices(
    kernels: Sequence[MaskedKernel],
    scores: Arrays,
    rule: Rule,
    ratio: float | None,
    sparsity: float | None,
) -> dict[MaskedKernel, np.ndarray]:
    prune, amount = (prune_all, ratio) if sparsity is None else (prune_all_to, sparsity)
    assert amount is not None
    masks = prune(
        split_matrices(kernels, {k: k.to_matrices(k.mask) for k in kernels}),
        split_matrices(kernels, scores),
        amount,
        rule.structure,
        rule.distribution,
        kernel_shapes(kernels),
    )
    return join_matrices(kernels, masks)
