"""The rule of a growth or pruning: score, structure and distribution, chosen independently."""

from dataclasses import dataclass

from hlstm_tf.sparsity import (
    Distribution,
    NeuronStructure,
    PerMatrix,
    Score,
    Structure,
    get_distribution,
    get_score,
    get_structure,
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
