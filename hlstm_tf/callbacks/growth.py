"""Growth of connections in the first epochs of training."""

from collections.abc import Iterable
from typing import Any

from hlstm_tf.callbacks.chosen_epochs import AtEpochEnds
from hlstm_tf.layers.masking import require_masked_kernels
from hlstm_tf.pruning.architecture import Rule, check_during, check_grows, grow_model
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import NEED_DATA, Distribution, Score, Structure
from hlstm_tf.sparsity.checks import check_fraction


class GradientGrowth(AtEpochEnds):
    """Activates, at the end of chosen epochs, the dormant connections that would help most.

    A dormant connection w is activated iff |dL/dw| exceeds the (100 ratio)th percentile of
    |dL/dW| over its matrix, dL/dw averaged over the whole training set with the weights fixed
    (arXiv 1805.11797, section 3.2; NeST, arXiv 1711.02017). It starts at zero, so growth does not
    change what the model computes, and validation of that epoch holds for the grown model.

    Masks change through `hl.edit_masks`: the optimizer's slots of new connections start afresh.

    Args:
        data: The training set: a `tf.data.Dataset`, a `keras.utils.PyDataset`, an `EpochData`, or
            arrays `(x, y)` or `(x, y, sample_weight)`. Scoring passes it once more each time; of
            data without an end it takes as many batches as an epoch of `fit` has.
        ratio: Growth ratio in [0, 1]; the higher, the fewer grow. The paper's 0.9 by default:
            a tenth of all places exceed the percentile.
        epochs: Grow at the end of the first so many epochs, or of these epochs (an iterable,
            counted from 0).
        score: "gradient", or "momentum" (running mean over the pass), "magnitude", "saliency",
            "activation", "output", "random" (the control to compare with), or a `Score`.
        structure: "connection", "row", "column", a block as "1x4", a pattern as "2:4", or a
            `Structure`.
        distribution: "per_matrix" (the paper's), "global", "erk", or a `Distribution`.
        during: "pass": the gradient is that of a pass of its own over `data`, weights fixed; of a
            model with its own `train_step`, that which its steps give to the optimizers.
            "epoch": that of the epoch's own training steps, added up as they go: at no cost but a
            matrix's memory, with weights that move and dropout acting (`EpochGradients`). A step
            may have one backward pass then.
        training: The `training` argument of the scoring pass; see `DenseGradients`.
        share: Share of the batches that the score is averaged over, evenly spread; all by default.
        batch_size: How arrays are batched for scoring.
        seed: Of random scores.
        verbose: Whether to print a line for each growth: 1 or 0, or "auto" (default) for as `fit`
            does, by its own `verbose`.

    Attributes:
        history: A dictionary for each growth: `epoch`, `grown`, `connections`, `sparsity`.

    Raises:
        ValueError: An argument is out of its range; at training, the model has no masked kernel, or
            `data` has no end and `fit` no `steps_per_epoch`.
        TypeError: `data` cannot be iterated again and again.
        FloatingPointError: At training, the loss or gradient of a batch is not finite.

    Example:

    >>> import keras, numpy as np, hlstm_tf as hl
    >>> from hlstm_tf.callbacks import GradientGrowth
    >>> model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(5)])
    >>> model.compile("sgd", "mse")
    >>> [kernel] = hl.masked_kernels(model)
    >>> _ = hl.edit_masks({kernel: np.eye(4, 5, dtype=bool)})
    >>> x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    >>> growth = GradientGrowth((x, x @ np.ones((4, 5))), ratio=0.5, epochs=1, verbose=0)
    >>> _ = model.fit(x, x @ np.ones((4, 5)), callbacks=[growth], verbose=0)
    >>> growth.history[0]["connections"] > 4
    True
    """

    def __init__(
        self,
        data: Any,
        ratio: float = 0.9,
        epochs: int | Iterable[int] = 3,
        score: str | Score = "gradient",
        structure: str | Structure = "connection",
        distribution: str | Distribution = "per_matrix",
        during: str = "pass",
        training: bool = False,
        share: float = 1.0,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int | str | None = "auto",
    ) -> None:
        super().__init__(data, epochs, share, batch_size, verbose)
        self.ratio = check_fraction(ratio, "ratio")
        self.rule = check_grows(Rule.of(score, structure, distribution))
        check_during(during, self.rule, training, share)
        self.during = during
        self.training = training
        self.seed = seed

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        require_masked_kernels(self.model)
        super().on_train_begin(logs)
        self._source = ScoreSource(
            self.model, self._scoring_data(), self.batch_size, self.training, self.share, self.seed
        )

    def _scoring_data(self) -> Any:
        """The data to score by, of which a pass ends where there is to be one."""
        needs = NEED_DATA & set(self.rule.score.needs)
        if self.during == "epoch":
            needs -= {"gradient"}  # the training steps collect it
        return self.finite_data() if needs else self.data

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        collecting = self._source.epoch is not None
        if self.during == "epoch" and collecting != (epoch in self.epochs):
            self._source.stop_collecting() if collecting else self._source.collect()
        self._source.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._source.count(batch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._source.stop_collecting()
        super().on_train_end(logs)

    def act(self, epoch: int) -> str:
        where = f"growth after epoch {epoch}"
        grown = grow_model(self._source, self.rule, self.ratio, epoch, where)
        self.keep(epoch=epoch, grown=grown)
        return f"{grown:,} connections grown"
