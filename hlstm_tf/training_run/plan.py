"""The plan of a grow-and-prune run: the choices of its growth and of its pruning."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hlstm_tf.pruning.architecture import Rule, check_during, check_grows
from hlstm_tf.pruning.budget import Budget
from hlstm_tf.pruning.neuron_growth import NeuronGrowthRule
from hlstm_tf.scoring.data import check_share
from hlstm_tf.sparsity import Connection, Distribution, Score, Structure
from hlstm_tf.sparsity.checks import check_count, check_fraction
from hlstm_tf.transforms.activations import get_activation


@dataclass(frozen=True)
class Growth:
    """How `GrowAndPrune` grows: the first phase of GP training (arXiv 1805.11797, section 3.2).

    Args:
        ratio: Growth ratio in [0, 1]: a dormant connection grows where its score exceeds this
            percentile of its matrix. The paper's 0.9 by default.
        epochs: How many epochs end with a growth; the paper's 3 by default.
        score: "gradient", "momentum", "magnitude", "saliency", "activation", "output",
            "random" or a `Score`.
        structure: "connection", "row", "column", a block as "1x4", a pattern as "2:4", or a
            `Structure`.
        distribution: "per_matrix", "global", "erk", or a `Distribution`.
        activation: Activation of the gates' hidden layers while growing, in place of ReLU;
            "leaky_relu" has the paper's slope of 0.01. Layers with another activation keep it.
            `None` leaves all as they are.
        during: "pass": the gradient is that of a pass of its own, weights fixed. "epoch": that of
            the epoch's training steps, added up as they go, at no cost; see `GradientGrowth`.
        training: The `training` argument of the scoring pass; see `DenseGradients`.
        share: Share of the training batches that the score is averaged over, evenly spread. All
            of them by default, as in the paper; on a large training set a tenth tells as much.
        neurons: How neurons grow at each of these growths, after the connections: a
            `NeuronGrowthRule`, or a number or share of a layer's width for one (see
            `NeuronGrowth`), hidden neurons of H-LSTM gates among them. `None` (default) for none.
            The connections then grow between living neurons, by the percentile over their places.
            For neurons alone let no connection grow, by `ratio=1.0`.

    Raises:
        ValueError: An argument is out of its range.

    >>> Growth(ratio=0.8).epochs
    3
    """

    ratio: float = 0.9
    epochs: int = 3
    score: str | Score = "gradient"
    structure: str | Structure = "connection"
    distribution: str | Distribution = "per_matrix"
    activation: Any = "leaky_relu"
    during: str = "pass"
    training: bool = False
    share: float = 1.0
    neurons: NeuronGrowthRule | int | float | None = None

    def __post_init__(self) -> None:
        check_fraction(self.ratio, "ratio")
        check_count(self.epochs, "epochs")
        check_share(self.share)
        check_during(self.during, check_grows(self.rule()), self.training, self.share)
        if self.activation is not None:
            get_activation(self.activation)
        if self.neurons is not None and not isinstance(self.neurons, NeuronGrowthRule):
            object.__setattr__(self, "neurons", NeuronGrowthRule(self.neurons))

    def rule(self) -> Rule:
        """The score, structure and distribution as objects."""
        return Rule.of(self.score, self.structure, self.distribution)


@dataclass(frozen=True)
class Pruning:
    """How `GrowAndPrune` prunes and retrains, iteration after iteration.

    An iteration removes the part `step` of the existing connections and retrains. If that meets
    the threshold the next one follows. If not, the last complete iteration comes back and half
    the step is tried, down to `min_step`; there pruning ends.

    Args:
        step: Pruning ratio in (0, 1]: which part of the existing connections an iteration removes
            from each matrix.
        retrain_epochs: How many epochs an iteration may retrain.
        min_step: The finest step tried. Default `None`: an eighth of `step`, so three halvings.
        retrain: "full": each iteration retrains all its epochs and keeps the best of them.
            "until_threshold": it stops at the first epoch that meets the threshold. Full training
            costs more time and prunes further, since the next iteration starts from a better model.
        score: "magnitude" (the paper's), "gradient", "saliency", "momentum", "activation",
            "output" (with structure "neuron": by what neurons and feature maps put out, as NeST
            has it), "random" or a `Score`.
        structure: What is removed as one. Default `None`: units of recurrent states and whole
            neurons in turn ("unit", "neuron": see `hl.Unit` and `hl.Neuron`), which `shrink` then
            takes out, so that every engine's file and time shrink with them; and single connections
            where the model has neither, or none that a step could remove, or with `recover`. Or
            "connection", the paper's, which leaves the most accuracy for its number and which no
            dense engine makes use of; "row", "column", a block as "1x4", a pattern as "2:4", or a
            `Structure`. A tuple gives the first iterations one each, and the last of it to all that
            follow: ("unit", "neuron", "connection") narrows the states, then the gates, and thins
            what is left. An iteration that finds nothing to remove takes the next of them. With a
            `budget` an iteration takes the first that lowers its cost, and after the first
            iterations they take turns.
        distribution: "per_matrix" (the paper's), "global", "erk", or a `Distribution`.
        learning_rate: Learning rate of the retraining epochs. Default `None`: the optimizer's own
            goes on, a schedule of it included. A number holds for all of them. A callable takes the
            epoch within the iteration, from 0, and returns the rate, so a
            `keras.optimizers.schedules` object rewinds with each iteration:
            `CosineDecay(1e-3, decay_steps=8)`. Retraining usually wants a lower rate than training
            (Han et al., arXiv 1506.02626, section 3.4: a tenth).
        target_sparsity: Stop after the iteration that reaches this sparsity. The last iteration
            removes no more than that takes, as near as whole groups and widths come to it. `None`
            (default) for as far as the threshold allows.
        max_iterations: Stop after so many complete iterations; `None` (default) for no limit.
        budget: A `Budget`: stop after the iteration with which the shrunk model is within it.
            `None` (default) for no limit. The cost is measured once a pruning, printed and kept in
            the history. A structure by which it does not come down is put back, and another taken;
            where none does, the run ends and says by how much it missed.
        recover: Which share of the connections that an iteration removed may come back, after half
            of its retraining, with the weight they had: those by whose return the loss falls most
            to first order (`hlstm_tf.sparsity.recover`; it takes a pass over the training data).
            Nothing goes in exchange: the iteration prunes that much less. Default `None`: none.
            The best state of the retraining, which goes on, may be one before they came back.
        recover_iterations: In how many of the first iterations; after them pruning is permanent
            (NeST, arXiv 1711.02017). Default `None`: in the first 3.

    Raises:
        ValueError: An argument is out of its range, or `target_sparsity` less than a pattern's
            least.

    >>> Pruning(step=0.4).finest_step
    0.05
    """

    step: float = 0.2
    retrain_epochs: int = 8
    min_step: float | None = None
    retrain: str = "full"
    score: str | Score = "magnitude"
    structure: str | Structure | tuple[str | Structure, ...] | None = None
    distribution: str | Distribution = "per_matrix"
    learning_rate: float | Callable[[int], float] | None = None
    target_sparsity: float | None = None
    max_iterations: int | None = None
    budget: Budget | None = None
    recover: float | None = None
    recover_iterations: int | None = None

    def __post_init__(self) -> None:
        if check_fraction(self.step, "step") == 0:
            raise ValueError("`step` must be above 0, or nothing is pruned; got 0")
        if self.min_step is not None and check_fraction(self.min_step, "min_step") == 0:
            raise ValueError("`min_step` must be above 0, or halving never ends; got 0")
        if self.finest_step > self.step:
            raise ValueError(
                f"`min_step` must not exceed `step`; got min_step={self.min_step}, step={self.step}"
            )
        check_count(self.retrain_epochs, "retrain_epochs")
        if self.retrain not in ("full", "until_threshold"):
            raise ValueError(f'`retrain` must be "full" or "until_threshold"; got {self.retrain!r}')
        rate = self.learning_rate
        if rate is not None and not callable(rate) and not float(rate) > 0:
            raise ValueError(f"`learning_rate` must be above 0 or a callable; got {rate!r}")
        if self.target_sparsity is not None:
            check_fraction(self.target_sparsity, "target_sparsity")
        if self.max_iterations is not None:
            check_count(self.max_iterations, "max_iterations")
        if isinstance(self.structure, list):
            object.__setattr__(self, "structure", tuple(self.structure))
        if self.budget is not None and not isinstance(self.budget, Budget):
            raise ValueError(
                "`budget` must be a Budget, such as hl.Budget('flops', 1e6), or None; got "
                f"{self.budget!r}"
            )
        if self.structure == ():
            raise ValueError("`structure` is an empty tuple; give at least one structure")
        self._check_target()
        self._check_recovery()

    def _check_target(self) -> None:
        rules = self.rules()
        if self.target_sparsity is not None:
            for rule in rules:
                rule.structure.check_sparsity(self.target_sparsity, "target_sparsity")

    def _check_recovery(self) -> None:
        if self.recover_iterations is not None:
            check_count(self.recover_iterations, "recover_iterations", minimum=0)
        if not self.recover:
            return
        check_fraction(self.recover, "recover")
        if any(not isinstance(rule.structure, Connection) for rule in self.rules()):
            raise ValueError(
                "`recover` gives back single connections, which structure='connection' prunes; "
                f"got structure={self.structure!r}"
            )
        if self.retrain_epochs < 2:
            raise ValueError(
                "`recover` acts during retraining, so `retrain_epochs` must be at least 2; got "
                f"{self.retrain_epochs}"
            )

    def recovers(self, iteration: int, epoch: int) -> bool:
        """Whether connections may come back in an iteration, after so many epochs of retraining."""
        last = 3 if self.recover_iterations is None else self.recover_iterations
        return bool(self.recover) and iteration < last and epoch == self.retrain_epochs // 2

    def reached(self, sparsity: float) -> bool:
        """Whether a sparsity is the target or more.

        >>> Pruning(target_sparsity=0.1).reached(1 - 0.9), Pruning().reached(0.9)
        (True, False)
        """
        # 1 - 0.9 is 0.1, whatever binary fractions make of it.
        return self.target_sparsity is not None and sparsity >= self.target_sparsity - 1e-9

    @property
    def finest_step(self) -> float:
        """The finest step tried."""
        return self.step / 8 if self.min_step is None else self.min_step

    def rules(self, iteration: int = 0, turn: int = 0) -> list[Rule]:
        """The scores, structures and distributions that an iteration tries, the first one first.

        Args:
            iteration: Complete iterations before it.
            turn: Prunings before it, those that were rolled back included.
        """
        if self.structure is None:
            neuron_structures = [] if self.recover else _turned(("unit", "neuron"), turn)
            rules = [Rule.of(self.score, whole, "per_matrix") for whole in neuron_structures]
            return [*rules, Rule.of(self.score, "connection", self.distribution)]
        several = self.structure if isinstance(self.structure, tuple) else (self.structure,)
        left = several[min(iteration, len(several) - 1) :]
        if self.budget is not None:
            begun = several[:iteration]
            left = (*left, *begun) if iteration < len(several) else _turned(several, turn)
        return [Rule.of(self.score, structure, self.distribution) for structure in left]

    def rate(self, epoch: int) -> float | None:
        """The learning rate of an iteration's retraining epoch; `None` to leave it alone."""
        if self.learning_rate is None:
            return None
        rate = self.learning_rate(epoch) if callable(self.learning_rate) else self.learning_rate
        return float(rate)


def _turned(several: tuple[Any, ...], turn: int) -> tuple[Any, ...]:
    first = turn % len(several)
    return several[first:] + several[:first]


def describe(value: Any) -> Any:
    """Returns a choice as JSON can hold it: the same in every process, for comparison.

    >>> describe(Growth())["ratio"]
    0.9
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Score):
        return value.name
    if isinstance(value, tuple):
        return [describe(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if hasattr(value, "get_config"):
        return {"type": type(value).__name__, **value.get_config()}
    # A function's `repr` holds its address, which differs from process to process.
    return getattr(value, "__qualname__", type(value).__name__)
