"""New feature maps: random sets of connections, tried on the training data."""

import keras
import numpy as np

from hlstm_tf.layers.masking import MaskedKernel
from hlstm_tf.pruning.layer_sites import LayerSite, density, living_ends
from hlstm_tf.pruning.sites import mean_weight, value_of
from hlstm_tf.scoring.gradients import MeanLoss
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import Optimizers, edit_masks, held_optimizers, scaled
from hlstm_tf.transforms.groups import merged

Arrays = dict[MaskedKernel, np.ndarray]


class Trials:
    """Tries candidates for new neurons and keeps the best (NeST, arXiv 1711.02017, convolutions).

    A candidate is a random set of weights at both ends of a dormant neuron: to inputs and consumers
    that live, as densely as living neurons are connected, of the mean magnitude that the layers'
    weights have. They come in twos, the second with the outgoing weights negated: to first order,
    one of the two lowers the loss. The one that lowers it most stays; if none does, none.

    Args:
        source: The model, and the training data that the loss is measured on: `source.share` of
            its batches.
        candidates: How many are tried for each neuron.
        strength: Mean magnitude of the new weights, in units of the layers'.
        where: What it is for, to name it in an error.
    """

    def __init__(self, source: ScoreSource, candidates: int, strength: float, where: str) -> None:
        self._source, self._candidates = source, candidates
        self._strength, self._where = strength, where
        self._pass = MeanLoss(source.model, source.training)

    def grow(self, site: LayerSite, count: int, rng: np.random.Generator) -> int:
        """Tries to let `count` neurons be born, one after another; returns how many were.

        After a neuron for which no candidate lowers the loss, no more are tried.
        """
        best = self._loss()
        for born, index in enumerate(site.dormant[:count]):
            site.prepare(np.array([index]), held_optimizers(self._source.model))
            before = {k: np.array(_numpy(k.mask)) for k in (site.producer, *site.consumers)}
            found = self._best(site, int(index), before, best, rng)
            if found is None:
                return born
            best, values = found
            self._put(before, values, held_optimizers(self._source.model))
        return count

    def _best(
        self, site: LayerSite, index: int, before: Arrays, least: float, rng: np.random.Generator
    ) -> tuple[float, Arrays] | None:
        """The least loss below `least` and the weights that give it; leaves the model as it is."""
        best: tuple[float, Arrays] | None = None
        values: Arrays = {}
        for number in range(self._candidates):
            if number % 2 == 0:
                values = self._draw(site, index, rng)
            else:
                values = {k: v if k == site.producer else -v for k, v in values.items()}
            loss = self._try(before, values)
            if loss < (least if best is None else best[0]):
                best = loss, values
        return best

    def _try(self, before: Arrays, values: Arrays) -> float:
        """The loss with a candidate; leaves the model as it is."""
        self._put(before, values, None)
        try:
            return self._loss()
        except FloatingPointError:
            return np.inf
        finally:
            edit_masks(before)

    def _draw(self, site: LayerSite, index: int, rng: np.random.Generator) -> Arrays:
        kernel = site.producer
        alive, _ = living_ends(kernel)
        incoming = np.zeros(kernel.shape)
        incoming[..., index] = self._weights(kernel, kernel.shape[:-1], alive, rng)
        values: Arrays = {kernel: incoming}
        for consumer in site.consumers:
            rows = merged(np.array([index]), site.width, consumer.shape[-2])
            _, alive = living_ends(consumer)
            shape = (*consumer.shape[:-2], len(rows), consumer.shape[-1])
            outgoing = np.zeros(consumer.shape)
            outgoing[..., rows, :] = self._weights(consumer, shape, alive, rng)
            values[consumer] = outgoing
        return values

    def _weights(
        self,
        kernel: MaskedKernel,
        shape: tuple[int, ...],
        alive: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Random weights, to the living places of the last axis, as dense as the kernel's are."""
        alive = np.broadcast_to(alive if alive.any() else True, shape)
        draw = rng.random(shape)
        exists = alive & (draw < density(kernel))
        exists.flat[np.argmin(np.where(alive, draw, 1.0))] = True  # one at least
        normal = np.where(exists, rng.standard_normal(shape), 0.0)
        return scaled(normal, self._strength * mean_weight([value_of(kernel)]))

    def _put(self, before: Arrays, values: Arrays, optimizer: Optimizers) -> None:
        masks = {kernel: before[kernel] | (value != 0) for kernel, value in values.items()}
        edit_masks(masks, optimizer, values)

    def _loss(self) -> float:
        source = self._source
        return self._pass.mean(source.data, source.batch_size, self._where, source.share)


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
