"""Which cases of a parametrized test run by default: its representatives.

Breadth is thorough: further members of a kind, as the same check of another layer, form or score.
`representatives` names, by the ids that pytest prints in brackets, the cases that stay in the
default tier. All other cases of the function get the marker `thorough`, and run by `make test-all`:

    @pytest.mark.representatives("MaskedGRU", "MaskedDense")
    @pytest.mark.parametrize("name", LAYERS)
    def test_every_layer_computes_the_same_under_xla(name): ...

In the same way `few` limits the examples of a costly property where no profile is asked for.
"""

import os
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import settings


def few(examples: int) -> settings:
    """So many examples by default; as many as the profile has where `HYPOTHESIS_PROFILE` names one.

    For properties one example of which takes a third of a second or more.
    """
    return settings() if "HYPOTHESIS_PROFILE" in os.environ else settings(max_examples=examples)


def assign_tiers(items: Iterable[pytest.Item]) -> None:
    """Gives the marker `thorough` to the cases that are not representatives.

    Args:
        items: Every collected case of the functions that they are of.

    Raises:
        pytest.UsageError: A name is not the id of a case, or a function would have no case in the
            default tier.
    """
    faults = []
    for function, cases in by_function(items).items():
        marker = cases[0].get_closest_marker("representatives")
        if marker is not None:
            ids = [case_id(case) for case in cases]
            unknown = sorted(set(marker.args) - set(ids))
            if unknown or not marker.args:
                faults.append(
                    f"{function}: representatives must name cases of it; got "
                    f"{', '.join(map(repr, unknown)) or 'none'}, it has {', '.join(map(repr, ids))}"
                )
                continue
            for case, name in zip(cases, ids, strict=True):
                if name not in marker.args:
                    case.add_marker("thorough")
        if all(case.get_closest_marker("thorough") for case in cases):
            faults.append(f"{function} has no case in the default tier")
    if faults:
        raise pytest.UsageError("\n".join(faults))


def by_function(items: Iterable[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """The cases of each test function, by its node id."""
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        functions[item.nodeid.partition("[")[0]].append(item)
    return functions


def case_id(case: pytest.Item) -> str:
    """What pytest prints in brackets; empty for a function without parameters."""
    callspec = getattr(case, "callspec", None)
    return callspec.id if callspec else ""
