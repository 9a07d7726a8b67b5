"""Sentences of spoken alphanumerics: what people say to a form that has no keyboard.

The kinds are those of a telephone census: yes and no, one-word commands, commands with an
argument, names spelled letter by letter, codes, digit strings, telephone numbers, house numbers,
dates and addresses. Every word list here was made for this project.
"""

import dataclasses
import string
from collections.abc import Callable, Sequence

import numpy as np

LETTERS = tuple(string.ascii_uppercase)
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
TEENS = (
    *("TEN", "ELEVEN", "TWELVE", "THIRTEEN", "FOURTEEN"),
    *("FIFTEEN", "SIXTEEN", "SEVENTEEN", "EIGHTEEN", "NINETEEN"),
)
TENS = ("TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
MONTHS = (
    *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE"),
    *("JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"),
)
ORDINALS = ("FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH", "EIGHTH", "TENTH")
ANSWERS = ("YES", "NO")
COMMANDS = ("STOP", "START", "HELP", "NEXT", "BACK", "CANCEL", "REPEAT", "SAVE")
VERBS = ("ERASE", "ENTER", "OPEN", "CALL", "PRINT")
STREETS = ("CEDAR", "RIVER", "MAPLE", "GARDEN", "SUMMIT", "HARBOR")
WAYS = ("STREET", "ROAD", "AVENUE", "LANE")

# Spelled one letter at a time; the words themselves are never spoken, so they are no vocabulary.
SPELLED = """
ADA AGNES ALBERTO AMIRA ANSELM AXEL BEATRIX BJORN BRUNO CAMILLE CHIYO CLAUDIA CYRUS DAGMAR DEXTER
DIEGO DUNCAN EDITH ELIJAH EMEKA ESTHER EZRA FATIMA FELIX FLORA GIDEON GRETA GUSTAV HASSAN HAZEL
HUGO IDRIS INGRID ISAAC IVANA JACOB JASPER JOAQUIN JUNIPER KARIM KEZIA KLAUS LENA LUCAS LYDIA
MAGNUS MAYUMI MERCY MIKHAIL NADIA NIGEL NOEMI OCTAVIA OLIVER OSCAR PABLO PHOEBE PIOTR QUENTIN
QUINN RASHID ROWAN RUFUS SABINE SOPHIE SVEN TABITHA THADDEUS TOMAS ULRICH URSULA VALERY VICTOR
WANDA WILFRED WYATT XAVIER XENIA YASMIN YUSUF ZACHARY ZELDA ZOLTAN BOGOTA BRISTOL CALGARY DENVER
DUBLIN FRESNO GALWAY GENEVA HAVANA HELSINKI JAKARTA KYOTO LISBON LJUBLJANA MALMO MUMBAI NAIROBI
OSLO PHOENIX QUEBEC QUITO RIGA SKOPJE TBILISI TUCSON UTRECHT VIENNA WARSAW XALAPA YAKIMA ZURICH
BAXTER CHOWDHURY DVORAK FITZGERALD GUZMAN HAWKINS JIMENEZ KOWALSKI LINDQVIST MBEKI NAKAMURA
OKAFOR PEREIRA RADFORD SZABO TREMBLAY VASQUEZ WHITLOCK YAMADA ZHUKOV
""".split()

VOCABULARY = frozenset(
    [*LETTERS, *DIGITS, "OH", *TEENS, *TENS, "HUNDRED", "THOUSAND", "AND", *MONTHS, *ORDINALS]
    + [*ANSWERS, *COMMANDS, *VERBS, *STREETS, *WAYS]
)
"""Every word that a sentence can hold: 103 of them."""


@dataclasses.dataclass(frozen=True)
class Phrase:
    """A sentence and the kind of thing it says (a key of `KINDS`)."""

    text: str
    kind: str


def _pick(rng: np.random.Generator, words: Sequence[str], count: int = 1) -> list[str]:
    return [words[int(k)] for k in rng.integers(len(words), size=count)]


def number(value: int) -> list[str]:
    """The words of a whole number from 0 to 999,999.

    Raises:
        ValueError: a number outside that range.

    Example:
        >>> " ".join(number(4217))
        'FOUR THOUSAND TWO HUNDRED SEVENTEEN'
        >>> " ".join(number(60))
        'SIXTY'
    """
    if not 0 <= value < 1_000_000:
        raise ValueError(f"number: got {value}; expected 0 to 999999")
    if value < 10:
        return [DIGITS[value]]
    if value < 20:
        return [TEENS[value - 10]]
    if value < 100:
        return [TENS[value // 10 - 2], *(number(value % 10) if value % 10 else [])]
    unit, word = (1000, "THOUSAND") if value >= 1000 else (100, "HUNDRED")
    rest = number(value % unit) if value % unit else []
    return [*number(value // unit), word, *rest]


def _digits(rng: np.random.Generator, count: int) -> list[str]:
    # A speaker says either ZERO or OH throughout one string.
    zero = "OH" if rng.random() < 0.5 else "ZERO"
    return [zero if word == "ZERO" else word for word in _pick(rng, DIGITS, count)]


def _code(rng: np.random.Generator) -> list[str]:
    """Two to six letters and digits in any order."""
    count = int(rng.integers(2, 7))
    letters, digits = _pick(rng, LETTERS, count), _digits(rng, count)
    take_letter = rng.random(count) < 0.6
    return [a if first else b for a, b, first in zip(letters, digits, take_letter, strict=True)]


def _verb(rng: np.random.Generator) -> list[str]:
    argument = KINDS[str(rng.choice(("code", "number", "spelled"), p=(0.6, 0.2, 0.2)))][1](rng)
    return [*_pick(rng, VERBS), *argument]


def _house(rng: np.random.Generator) -> list[str]:
    value = int(rng.integers(10, 10 ** int(rng.integers(2, 5))))
    words = number(value)
    if "HUNDRED" in words[:-1] and rng.random() < 0.3:
        words.insert(words.index("HUNDRED") + 1, "AND")
    return words


def _date(rng: np.random.Generator) -> list[str]:
    ordinal = rng.random() < 0.4
    day = _pick(rng, ORDINALS) if ordinal else number(int(rng.integers(1, 32)))
    words = [*_pick(rng, MONTHS), *day]
    if rng.random() < 0.6:
        rest = int(rng.integers(10, 100))
        words += [*number(int(rng.integers(18, 21))), *number(rest)]
    return words


KINDS: dict[str, tuple[float, Callable[[np.random.Generator], list[str]]]] = {
    "answer": (0.04, lambda rng: _pick(rng, ANSWERS)),
    "command": (0.08, lambda rng: _pick(rng, COMMANDS)),
    "verb": (0.13, _verb),
    "spelled": (0.18, lambda rng: list(_pick(rng, SPELLED)[0])),
    # Each letter as likely as the next, so that rare ones are learned too.
    "letters": (0.08, lambda rng: _pick(rng, LETTERS, int(rng.integers(3, 8)))),
    "code": (0.10, _code),
    "digits": (0.10, lambda rng: _digits(rng, int(rng.integers(3, 8)))),
    "telephone": (0.05, lambda rng: _digits(rng, 10 if rng.random() < 0.3 else 7)),
    "number": (0.07, _house),
    "date": (0.10, _date),
    "address": (0.07, lambda rng: [*_house(rng), *_pick(rng, STREETS), *_pick(rng, WAYS)]),
}
"""Kind to (share of sentences, generator of its words); the shares add up to 1."""


def sentence(rng: np.random.Generator) -> Phrase:
    """One random sentence.

    Args:
        rng: the only source of randomness: equal generators give equal sentences.

    Example:
        >>> sentence(np.random.default_rng(3)).text == sentence(np.random.default_rng(3)).text
        True
    """
    names = list(KINDS)
    kind = names[int(rng.choice(len(names), p=[KINDS[name][0] for name in names]))]
    return Phrase(" ".join(KINDS[kind][1](rng)), kind)
