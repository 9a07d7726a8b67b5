"""Figures of plots, which need a package that not everybody has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.common.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, of inches, that arranges what is put into it.

    It belongs to no window: nothing of matplotlib's state is touched.

    Raises:
        InputError: matplotlib is missing.

    Example:

    >>> new_figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "plots need the package matplotlib, which is not installed;"
            ' pip install "hlstm_tf[report]"'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
