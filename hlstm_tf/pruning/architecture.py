"""One growth and one pruning of a whole model: rule, scores, mask edit."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.pruning.dead_neurons import fold_constants, without_dead_neurons
from hlstm_tf.pruning.neuron_pruning import prune_neurons
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import (
    Distribution,
    NeuronStructure,
    PerMatrix,
    Score,
    Structure,
    edit_masks,
    get_distribution,
    get_score,
    get_structure,
    grow_all,
    held_optimizers,
    prune_all,
    prune_all_to,
)


@dataclass(frozen=True)
class Rule:
    """What growth and pruning choose independently: score, structure, distribution.

    Attributes:
        score: What ranks connections.
        structure: What comes and goes as one.
        distribution: Which matrices share a percentile.
    """

    score: Score
    structure: Structure
    distribution: Distribution

    @classmethod
    def of(
        cls, score: str | Score, structure: str | Structure, distribution: str | Distribution
    ) -> "Rule":
        """Makes a rule from names or objects; raises `ValueError` for a name unknown."""
        rule = cls(get_score(score), get_structure(structure), get_distribution(distribution))
        if isinstance(rule.structure, NeuronStructure) and rule.distribution != PerMatrix():
            raise ValueError(
                f"structure='{rule.structure}' narrows each layer by itself: distribution must be "
                f"'per_matrix'; got {distribution!r}."
            )
        return rule


DURING = ("pass", "epoch")
"""Where growth's gradient comes from: a pass of its own, or the epoch's training steps."""


def check_during(during: str, rule: Rule, training: bool, share: float) -> None:
    """Raises a `ValueError` where a growth cannot go by the gradients of the training steps."""
    if during not in DURING:
        raise ValueError(f"during must be 'pass' or 'epoch'; got {during!r}.")
    if during == "pass":
        return
    if "gradient" not in rule.score.needs or "momentum" in rule.score.needs:
        raise ValueError(
            "during='epoch' collects the mean gradient of the training steps; score must be "
            f"'gradient' or 'saliency', got '{rule.score.name}'."
        )
    if training or share != 1.0:
        raise ValueError("training and share are about a pass; leave them out with during='epoch'.")


def check_grows(rule: Rule) -> Rule:
    """Returns a rule that growth can go by; raises a `ValueError` for another."""
    if isinstance(rule.structure, NeuronStructure):
        raise ValueError(
            f"growth's structure cannot be '{rule.structure}', which is for pruning; choose "
            "'connection', 'row', 'column' or a block."
        )
    return rule


Arrays = Mapping[MaskedKernel, np.ndarray]


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
    scores = source.scores(rule.score, event, where)
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
    scores = source.scores(rule.score, event, where)
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
    if isinstance(rule.structure, NeuronStructure):
        masks = {k: keras.ops.convert_to_numpy(k.mask) for k in kernels}
        own = rule.score.of_neurons
        edits = prune_neurons(model, masks, scores, rule.structure, ratio, sparsity, own)
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
