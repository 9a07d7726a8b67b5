"""Files damaged at random, as a bad disk or a broken download does it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

STRANGE: tuple[Any, ...] = (None, 0, -1, "", [], {}, "x", 1e308, 2**70, True, [None, None], "\0")


def damaged(content: bytes, seed: int) -> bytes:
    """Return bytes with one damage: truncated, flipped, overwritten, left out, put in, swapped."""
    rng = np.random.default_rng(seed)
    found, size = bytearray(content), len(content)
    head = min(size, int(rng.choice([16, 64, 256, size])))  # where the damage does most
    place = int(rng.integers(head))
    length = int(rng.choice([1, 4, 16, 200]))
    end = min(size, place + length)
    match seed % 8:
        case 0:
            del found[int(rng.integers(size)) :]
        case 1:
            for place in rng.integers(head, size=length):
                found[place] ^= 1 << int(rng.integers(8))
        case 2:
            found[place:end] = rng.bytes(end - place)
        case 3:
            found[place:end] = bytes([255 * int(rng.integers(2))]) * (end - place)
        case 4:
            del found[place:end]
        case 5:
            found[place:place] = rng.bytes(length)
        case 6:
            first, second = sorted(rng.integers(size, size=2))
            found = found[second:] + found[first:second] + found[:first]
        case _:
            found += rng.bytes(length)
    return bytes(found)


def damaged_json(content: bytes, seed: int) -> bytes:
    """Return a JSON text that is whole, with a value gone or another in its place."""
    rng = np.random.default_rng(seed)
    whole = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def collect(part: Any) -> None:
        names = part if isinstance(part, dict) else range(len(part))
        for name in names:
            places.append((part, name))
            if isinstance(part[name], (dict, list)):
                collect(part[name])

    collect(whole)
    part, name = places[int(rng.integers(len(places)))]
    if seed % 3:
        part[name] = STRANGE[int(rng.integers(len(STRANGE)))]
    else:
        del part[name]
    return json.dumps(whole).encode()
