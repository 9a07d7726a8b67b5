"""From the network's outputs to text: greedy and beam search, and how sure each word is."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from hlstm_tf import quiet_import

Search = Callable[[Any, Any], list[list[int]]]
"""Takes logits and lengths as `greedy` does, returns the class numbers of each utterance: `greedy`,
`beam`, or a `VocabularySearch`."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A recognised word.

    Args:
        text: the word.
        confidence: 0 to 1: geometric mean over its characters of the probability the network gave
            each at its most certain frame.
        start, end: output frames from its first to past its last character; times the network's
            stride and the front end's hop they are seconds.
    """

    text: str
    confidence: float
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Transcript:
    """A recognised utterance: its text, and its words in order."""

    text: str
    words: tuple[Word, ...]

    @property
    def confidence(self) -> float:
        """Least confidence of any word; 1 for an empty transcript."""
        return min((word.confidence for word in self.words), default=1.0)

    def later(self, frames: float) -> "Transcript":
        """The same, heard so many output frames later."""
        move = round(frames)
        words = [
            dataclasses.replace(word, start=word.start + move, end=word.end + move)
            for word in self.words
        ]
        return Transcript(self.text, tuple(words))


def joined(parts: Sequence[Transcript]) -> Transcript:
    """One transcript of parts that were said one after the other.

    Example:
        >>> part = Transcript("GO ON", (Word("GO", 1.0, 0, 4), Word("ON", 1.0, 5, 9)))
        >>> joined([part, part.later(20)]).text
        'GO ON GO ON'
    """
    words = tuple(word for part in parts for word in part.words)
    return Transcript(" ".join(word.text for word in words), words)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities over the last axis; leaves log probabilities as they are.

    Example:
        >>> np.exp(log_softmax(np.zeros((1, 4)))).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def greedy(logits: Any, lengths: Any, blank: int = 0) -> list[list[int]]:
    """The most probable class of each frame; repeats are merged, then blanks removed.

    Args:
        logits: float (batch, frames, classes), or log probabilities.
        lengths: int (batch,), true frames; what lies beyond is ignored.
        blank: the blank class.

    Returns:
        Class numbers of each utterance.

    Raises:
        InputError: shapes that do not fit, or NaN.

    Example:
        >>> greedy(np.eye(3)[None, [1, 1, 0, 1, 2]], [5])
        [[1, 1, 2]]
    """
    logits, lengths = checked(logits, lengths)
    best = logits.argmax(axis=-1)
    return [_collapse(row[:length], blank) for row, length in zip(best, lengths, strict=True)]


def beam(logits: Any, lengths: Any, width: int = 64, blank: int = 0) -> list[list[int]]:
    """Prefix beam search without a language model: the most probable text, not the most probable
    path (`tf.nn.ctc_beam_search_decoder`).

    Args:
        logits, lengths, blank: as in `greedy`.
        width: prefixes kept a frame, at least 1.

    Returns:
        Class numbers of each utterance.

    Raises:
        InputError: as `greedy`; a width below 1.

    Example:
        >>> beam(np.log([[[0.4, 0.3, 0.3], [0.4, 0.35, 0.25]]]), [2])
        [[1]]
        >>> greedy(np.log([[[0.4, 0.3, 0.3], [0.4, 0.35, 0.25]]]), [2])
        [[]]
    """
    check_width(width)
    logits, lengths = checked(logits, lengths)
    if not lengths.size or not logits.shape[1]:
        return [[] for _ in lengths]
    tf = quiet_import("tensorflow")
    classes = logits.shape[-1]
    # TensorFlow's decoder has its blank last: move ours there, and back afterwards.
    order = [k for k in range(classes) if k != blank] + [blank]
    inputs = tf.constant(log_softmax(logits)[:, :, order].transpose(1, 0, 2), tf.float32)
    (found,), _ = tf.nn.ctc_beam_search_decoder(inputs, lengths, beam_width=width, top_paths=1)
    result: list[list[int]] = [[] for _ in lengths]
    for (row, _), value in zip(found.indices.numpy(), found.values.numpy(), strict=True):
        result[int(row)].append(order[int(value)])
    return result


def align(log_probabilities: np.ndarray, ids: Sequence[int], blank: int = 0) -> np.ndarray:
    """The most probable CTC path that writes `ids` (Viterbi; Graves et al. 2006, section 4.1, with
    the maximum in place of the sum).

    Args:
        log_probabilities: float (frames, classes).
        ids: the class numbers to write, without blanks.
        blank: the blank class.

    Returns:
        int (frames,): for each frame the place in `ids` that it writes, or -1 for a blank.

    Raises:
        InputError: too few frames for `ids`.

    Example:
        >>> align(np.log(np.eye(3)[[1, 1, 0, 2]] + 0.01), [1, 2]).tolist()
        [0, 0, -1, 1]
    """
    frames = len(log_probabilities)
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    skip = np.zeros(len(states), bool)  # a letter may follow an unequal letter without a blank
    skip[3::2] = states[3::2] != states[1:-2:2]
    if frames < len(ids) + int(np.sum(~skip[3::2])):
        raise InputError(f"align: {len(ids)} labels do not fit into {frames} frames")
    score = np.full(len(states), -np.inf)
    score[:2] = log_probabilities[0, states[:2]]
    back = np.zeros((frames, len(states)), np.int8)
    for frame in range(1, frames):
        came = np.stack([score, _shift(score, 1), np.where(skip, _shift(score, 2), -np.inf)])
        back[frame] = came.argmax(axis=0)
        score = came.max(axis=0) + log_probabilities[frame, states]
    state = len(states) - 1
    if len(states) > 1 and score[-2] > score[-1]:
        state -= 1
    path = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = (state - 1) // 2 if state % 2 else -1
        state -= int(back[frame, state])
    return path


def transcripts(
    logits: Any, lengths: Any, alphabet: Alphabet, search: Search = greedy
) -> list[Transcript]:
    """Text and words of each utterance.

    Args:
        logits, lengths: as in `greedy`.
        alphabet: of the model; its blank is used.
        search: how the text is found.

    Returns:
        One transcript an utterance. Its text has single spaces between words, whatever the
        network wrote.

    Raises:
        InputError: as `search`; a model with another number of classes.

    Example:
        >>> logits = 9 * np.eye(29)[None, [2, 0, 3, 1, 4]]
        >>> found, = transcripts(logits, [5], Alphabet())
        >>> found.text, [(word.text, word.start, word.end) for word in found.words]
        ('AB C', [('AB', 0, 3), ('C', 4, 5)])
    """
    logits, lengths = checked(logits, lengths)
    if logits.shape[-1] != alphabet.size:
        raise InputError(
            f"decode: the model has {logits.shape[-1]} classes, the alphabet {alphabet.size};"
            " use the alphabet that the model was trained with"
        )
    found = search(logits, lengths)
    return [
        _transcript(log_softmax(rows[:length]), ids, alphabet)
        for rows, length, ids in zip(logits, lengths, found, strict=True)
    ]


def _transcript(log_probabilities: np.ndarray, ids: list[int], alphabet: Alphabet) -> Transcript:
    if not ids:
        return Transcript("", ())
    path = align(log_probabilities, ids, alphabet.blank)
    text = alphabet.decode(ids)
    words, begin = [], 0
    for part in text.split(" "):
        end = begin + len(part)
        if part:
            words.append(_word(part, log_probabilities, path, ids, begin, end))
        begin = end + 1
    return Transcript(" ".join(word.text for word in words), tuple(words))


def _word(
    text: str, log_probabilities: np.ndarray, path: np.ndarray, ids: list[int], begin: int, end: int
) -> Word:
    peaks = [log_probabilities[path == k, ids[k]].max() for k in range(begin, end)]
    frames = np.flatnonzero((path >= begin) & (path < end))
    return Word(text, float(np.exp(np.mean(peaks))), int(frames[0]), int(frames[-1]) + 1)


def _collapse(path: np.ndarray, blank: int) -> list[int]:
    changed = np.ones(len(path), bool)
    changed[1:] = path[1:] != path[:-1]
    return [int(k) for k in path[changed] if k != blank]


def _shift(score: np.ndarray, places: int) -> np.ndarray:
    shifted = np.full_like(score, -np.inf)
    shifted[places:] = score[:-places]
    return shifted


def check_width(width: int) -> None:
    """Raise an InputError for a beam of nothing."""
    if width < 1:
        raise InputError(f"beam: got width {width}; expected at least 1")


def checked(logits: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits and lengths as arrays.

    Raises:
        InputError: shapes that do not fit, or NaN.
    """
    logits, lengths = np.asarray(logits), np.asarray(lengths, np.int32)
    if logits.ndim != 3 or lengths.shape != logits.shape[:1]:
        raise InputError(
            f"decode: got logits of shape {logits.shape} and lengths of shape {lengths.shape};"
            " expected (batch, frames, classes) and (batch,)"
        )
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= logits.shape[1]:
        raise InputError(
            f"decode: lengths go from {lengths.min()} to {lengths.max()}; expected 0 to the"
            f" {logits.shape[1]} frames of the logits"
        )
    if np.isnan(logits).any():
        raise InputError("decode: the network's output holds NaN; the model is damaged")
    return logits, lengths
