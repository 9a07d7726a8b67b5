"""The actions of GP training, done to a model."""

import keras

from hlstm_tf.layers.masking import require_masked_kernels
from hlstm_tf.pruning.architecture import Rule, count_connections, grow_model, prune_model
from hlstm_tf.pruning.budget import Budget, is_measured
from hlstm_tf.pruning.layer_sites import living_rooms
from hlstm_tf.pruning.neuron_growth import NeuronGrowthRule, grow_neurons
from hlstm_tf.pruning.neuron_pruning import has_neurons
from hlstm_tf.pruning.widths import widths_that_stay
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import NeuronStructure
from hlstm_tf.training_run.phases import Action, Phase, Plan, Progress, end_before_pruning
from hlstm_tf.training_run.plan import Pruning
from hlstm_tf.training_run.recovery import recover_connections
from hlstm_tf.training_run.snapshot import Snapshot, checksum, put, same_weights, take
from hlstm_tf.transforms.activations import set_hidden_activation


class Stage:
    """A model in GP training, with the states that it may have to go back to.

    Args:
        model: The model.
        plan: What is to be done.
        source: Where scores come from.

    Attributes:
        progress: Where the run is.
        epochs: How many epochs are done.
        current: The state the model is in, where a snapshot has it already.
        best: The best state of the phase, or of this retraining.
        complete: The last complete iteration.
        notes: What the last actions could not do, in words.
    """

    def __init__(self, model: keras.Model, plan: Plan, source: ScoreSource) -> None:
        self.model = model
        self.plan = plan
        self.source = source
        self.progress = Progress(Phase.GROWTH)
        self.epochs = 0
        self.current: Snapshot | None = None
        self.best: Snapshot | None = None
        self.complete: Snapshot | None = None
        self.notes: list[str] = []
        self._noted: set[str] = set()
        self._kernels = require_masked_kernels(model)

    def size(self) -> tuple[int, int]:
        """Connections, and places for them."""
        return count_connections(self._kernels)

    def sparsity(self) -> float:
        """The part of the places that has no connection."""
        connections, places = self.size()
        return 1 - connections / places

    def missed_budget(self) -> str:
        """By how much the model, the last complete iteration, misses the pruning's budget.

        With the widths that cannot fall further; empty where it does not miss it.
        """
        pruning = self.plan.pruning
        if pruning is None or pruning.budget is None:
            return ""
        missed = pruning.budget.missed(self.progress.complete_cost)
        stay = self._stay(pruning.rules()) if missed else []
        return "; ".join([missed, *stay])

    def do(self, actions: list[Action]) -> list[str]:
        """Does the actions in order; returns the names of those that are events of the run."""
        perform = {
            Action.GROW: self._grow,
            Action.SHIFT: self.set_activation,
            Action.KEEP_BEST: self._keep_best,
            Action.RESTORE_BEST: lambda: self.put(self.best),
            Action.COMPLETE: self._keep_complete,
            Action.ROLL_BACK: lambda: self.put(self.complete),
            Action.RECOVER: self._recover,
            Action.PRUNE: self._prune,
            Action.FINISH: self._drop_best,
        }
        for action in actions:
            perform[action]()
        events = [str(action) for action in actions if action is not Action.KEEP_BEST]
        if self.progress.phase is Phase.FINISHED and Action.FINISH not in actions:
            events.append(str(Action.FINISH))
        return events

    def set_activation(self) -> None:
        """Sets the hidden activation of the phase: leaky ReLU while growing, ReLU after."""
        growth = self.plan.growth
        if growth is None or growth.activation is None:
            return
        if self.progress.phase is Phase.GROWTH:
            set_hidden_activation(self.model, growth.activation, only="relu")
        else:
            set_hidden_activation(self.model, "relu", only=growth.activation)
        self.source.forget_trace()

    def put(self, snapshot: Snapshot | None) -> None:
        """Puts a state back into the model: weights, masks and optimizers together."""
        assert snapshot is not None
        put(self.model, snapshot)
        self.current = snapshot

    def put_complete(self) -> bool:
        """Puts the last complete iteration back after `fit`; whether the model held another."""
        before = take(self.model, "before")
        self.put(self.complete)
        # `fit` has put averaged weights (EMA) in their place already; do it for these, too.
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        return not same_weights(self.model, before)

    def snapshots(self) -> dict[str, Snapshot]:
        """The states that a resumed run needs, by role."""
        if self.current is None:
            self.current = take(self.model, f"{self.epochs:05d}-current")
        roles = {"current": self.current, "best": self.best, "complete": self.complete}
        return {role: snapshot for role, snapshot in roles.items() if snapshot is not None}

    def where(self) -> str:
        """Where the run is, in words."""
        if self.progress.phase is Phase.RETRAINING:
            return f"during retraining of pruning iteration {self.progress.iteration + 1}"
        return f"in the {self.progress.phase} phase"

    def _grow(self) -> None:
        growth = self.plan.growth
        assert growth is not None
        where = f"growth after epoch {self.epochs - 1}"
        # Dormant neurons, whose connections have no gradient, would move the percentile.
        rooms = None if growth.neurons is None else living_rooms(self.model)
        grow_model(self.source, growth.rule(), growth.ratio, self.epochs, where, rooms)
        if growth.neurons is not None:
            # After the connections, which start at zero: their gradient is that of the same model.
            assert isinstance(growth.neurons, NeuronGrowthRule)
            grow_neurons(self.source, growth.neurons, self.epochs, where)
        self.current = None

    def _prune(self) -> None:
        """Prunes by the first of the iteration's rules that removes something, or ends the run.

        With a budget it has to lower the cost as well, or else the model is put back.
        """
        pruning, progress = self.plan.pruning, self.progress
        assert pruning is not None
        budget = pruning.budget
        if pruning.reached(self.sparsity()):
            self._end(f"the target sparsity {pruning.target_sparsity:.1%} is there already")
            return
        if budget is not None and progress.cost is not None and budget.met(progress.cost):
            self._end(f"within the budget already: {budget.says(progress.cost)}")
            return
        idle, again, unfit = [], [], []
        for rule in self._candidates(pruning):
            if not self._prune_by(rule, pruning):
                unfit.append(rule)
                continue
            result = checksum(self._kernels)
            if result in progress.tried:
                again.append(str(rule.structure))
            elif self._moves_budget(budget):
                progress.turn += 1
                progress.tried.append(result)
                self._note_unfit(unfit, rule)
                self.current = self.best = None
                return
            else:
                idle.append(str(rule.structure))
            self.put(self.complete)
        stay = self._stay(unfit) if budget is None else []  # a missed budget says it by itself
        self._end(_why_not(f"a step of {progress.step:.1%}", idle, again, stay))

    def _stay(self, rules: list[Rule]) -> list[str]:
        """Which layers no rule of whole neurons can narrow, and why."""
        structures = [rule.structure for rule in rules]
        return widths_that_stay(
            self.model, [s for s in structures if isinstance(s, NeuronStructure)]
        )

    def _note_unfit(self, unfit: list[Rule], taken: Rule) -> None:
        """Notes, once for each structure, that another was taken because it removes nothing."""
        new = [rule for rule in unfit if str(rule.structure) not in self._noted]
        if new:
            names = [str(rule.structure) for rule in new]
            self._noted.update(names)
            why = "; ".join(self._stay(new))
            self.notes.append(
                f"no {' or '.join(names)} is left that a step of {self.progress.step:.1%} could "
                f"remove{f' ({why})' if why else ''}, so it prunes by {taken.structure}"
            )

    def take_notes(self) -> list[str]:
        """Returns the notes and forgets them."""
        notes, self.notes = self.notes, []
        return notes

    def _candidates(self, pruning: Pruning) -> list[Rule]:
        rules = pruning.rules(self.progress.iteration, self.progress.turn)
        if is_measured(self.progress.cost):
            # Zeros that stay in the arrays cost as much time as other weights.
            rules = sorted(rules, key=lambda rule: not isinstance(rule.structure, NeuronStructure))
        if pruning.structure is not None:
            return rules
        return [
            rule
            for rule in rules
            if not isinstance(rule.structure, NeuronStructure)
            or has_neurons(self.model, rule.structure)
        ]

    def _prune_by(self, rule: Rule, pruning: Pruning) -> int:
        where = f"pruning after epoch {self.epochs - 1}"
        step = self.progress.step
        return prune_model(
            self.source, rule, where, self.epochs, ratio=step, enough=pruning.reached
        )

    def _moves_budget(self, budget: Budget | None) -> bool:
        """Measures what the pruning just done has led to; tells whether the cost came down."""
        if budget is None:
            return True
        before, after = self.progress.cost, budget.measure(self.model)
        assert before is not None
        if is_measured(before):
            # Other work on the machine comes and goes: what was measured an iteration ago says
            # little of now.
            before = self._measured_before(budget)
        if not budget.moves(before, after):
            return False
        self.progress.cost = after
        return True

    def _measured_before(self, budget: Budget) -> float:
        """The cost of the last complete iteration, measured now."""
        assert self.complete is not None
        pruned = take(self.model, "pruned")
        put(self.model, self.complete)
        cost = budget.measure(self.model)
        put(self.model, pruned)
        return cost

    def _end(self, reason: str) -> None:
        end_before_pruning(self.progress, reason)
        self._drop_best()

    def _recover(self) -> None:
        pruning = self.plan.pruning
        # What was pruned is the last complete iteration, whatever the step.
        assert pruning is not None
        assert pruning.recover is not None
        assert self.complete is not None
        where = f"recovery after epoch {self.epochs - 1}"
        recover_connections(self.source, self.complete, pruning.recover, where)
        self.current = None
        if pruning.budget is not None:
            self.progress.cost = pruning.budget.measure(self.model)

    def _keep_best(self) -> None:
        self.best = self.current = take(self.model, f"{self.epochs:05d}-best")

    def _drop_best(self) -> None:
        self.best = None

    def _keep_complete(self) -> None:
        if self.current is None:
            self.current = take(self.model, f"{self.epochs:05d}-complete")
        self.complete = self.current
        pruning, progress = self.plan.pruning, self.progress
        if pruning is not None and pruning.budget is not None and progress.cost is None:
            progress.cost = progress.complete_cost = pruning.budget.measure(self.model)


def _why_not(step: str, idle: list[str], again: list[str], stay: list[str]) -> str:
    """Why no structure was pruned: some lower no cost, some led to what missed the threshold."""
    reasons = []
    if again:
        reasons.append(f"{step} by {' or '.join(again)} removes what missed the threshold before")
    if idle:
        reasons.append(f"{step} by {' or '.join(idle)} does not lower what the budget limits")
    if not reasons:
        why = f" ({'; '.join(stay)})" if stay else ""
        reasons.append(f"nothing is left that {step} could remove{why}")
    return "; ".join(reasons)
