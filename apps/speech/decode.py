"""From the network's outputs to text, and how sure each word is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.common.recipe import check
from apps.common.text import read_text
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
    """A recognised utterance: its words in order."""

    words: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """The words with single spaces between them, whatever the network wrote."""
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Least confidence of any word; 1 for an empty transcript."""
        return min((word.confidence for word in self.words), default=1.0)

    def then(self, other: Transcript, frames: float) -> Transcript:
        """This one and another, whose first frame came so many output frames after the first here.

        Example:
            >>> part = Transcript((Word("GO", 1.0, 0, 4), Word("ON", 1.0, 5, 9)))
            >>> both = part.then(part, 20)
            >>> both.text, both.words[-1].end
            ('GO ON GO ON', 29)
        """
        move = round(frames)
        words = [
            dataclasses.replace(w, start=w.start + move, end=w.end + move) for w in other.words
        ]
        return Transcript((*self.words, *words))


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

    Raises:
        InputError: shapes that do not fit, or NaN.

    Example:
        >>> greedy(np.eye(3)[None, [1, 1, 0, 1, 2]], [5])
        [[1, 1, 2]]
    """
    logits, lengths = _checked(logits, lengths)
    found = []
    for path, length in zip(logits.argmax(axis=-1), lengths, strict=True):
        before = np.concatenate([[-1], path[:-1]])
        pairs = zip(path[:length], before[:length], strict=True)
        found.append([int(k) for k, last in pairs if k not in (last, blank)])
    return found


def beam(logits: Any, lengths: Any, width: int = 64, blank: int = 0) -> list[list[int]]:
    """Prefix beam search without a language model: the most probable text, not the most probable
    path (`tf.nn.ctc_beam_search_decoder`).

    Args:
        logits, lengths, blank: as in `greedy`.
        width: prefixes kept a frame, at least 1.

    Raises:
        InputError: as `greedy`; a width below 1.

    Example:
        >>> beam(np.log([[[0.4, 0.3, 0.3], [0.4, 0.35, 0.25]]]), [2])
        [[1]]
        >>> greedy(np.log([[[0.4, 0.3, 0.3], [0.4, 0.35, 0.25]]]), [2])
        [[]]
    """
    check("beam", f"width {width}", width >= 1, "at least 1")
    logits, lengths = _checked(logits, lengths)
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
        padded = np.concatenate([[-np.inf, -np.inf], score])
        came = np.stack([score, padded[1:-1], np.where(skip, padded[:-2], -np.inf)])
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
    """Words of each utterance, with their frames and confidences.

    Args:
        logits, lengths: as in `greedy`.
        alphabet: of the model; its blank is used.
        search: how the text is found.

    Raises:
        InputError: as `search`; a model with another number of classes.

    Example:
        >>> logits = 9 * np.eye(29)[None, [2, 0, 3, 1, 4]]
        >>> found, = transcripts(logits, [5], Alphabet())
        >>> found.text, [(word.text, word.start, word.end) for word in found.words]
        ('AB C', [('AB', 0, 3), ('C', 4, 5)])
    """
    logits, lengths = _checked(logits, lengths)
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
        return Transcript()
    path = align(log_probabilities, ids, alphabet.blank)
    words, begin = [], 0
    for text in alphabet.decode(ids).split(" "):
        end = begin + len(text)
        if text:
            peaks = [log_probabilities[path == k, ids[k]].max() for k in range(begin, end)]
            frames = np.flatnonzero((path >= begin) & (path < end))
            sure = float(np.exp(np.mean(peaks)))
            words.append(Word(text, sure, int(frames[0]), int(frames[-1]) + 1))
        begin = end + 1
    return Transcript(tuple(words))


def _checked(logits: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits and lengths as arrays; an InputError for shapes that do not fit, or NaN."""
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


WIDTH = 100
"""Default width of the beam of a `VocabularySearch`."""
LARGEST = 4_000_000
"""Bytes of a list of words; 300,000 words of English have three million."""
NEVER = -1e4
"""Log probability of what must not be; finite, as the decoder adds it up."""


class VocabularySearch:
    """Beam search for the most probable sequence of words from a list, none likelier than another.

    By the lexicon decoder of Flashlight Text (Kahn et al., "Flashlight", arXiv 2201.12465, section
    4.3) without a language model. A `Search`, to be given to `apps.speech.decode.transcripts`.

    Args:
        words: The vocabulary, in any case, repetitions allowed.
        alphabet: Of the model.
        width: Hypotheses kept a frame, at least 1.

    Raises:
        InputError: No words, one that the alphabet cannot write, a width below 1, or Flashlight
            Text is not installed.

    Example:

    >>> alphabet = Alphabet(" AB")
    >>> logits = np.log([[[0.1, 0.1, 0.6, 0.2], [0.1, 0.1, 0.1, 0.7]]])
    >>> for words in (["ab", "b"], ["a"]):
    ...     [ids] = VocabularySearch(words, alphabet)(logits, [2])
    ...     print(alphabet.decode(ids))
    AB
    A
    """

    def __init__(self, words: Iterable[str], alphabet: Alphabet, width: int = WIDTH) -> None:
        try:
            from flashlight.lib.text import decoder as flashlight
        except ImportError as error:
            raise InputError(
                "a vocabulary needs the package flashlight-text, which is not installed;"
                ' pip install "hlstm_tf[vocabulary]"'
            ) from error
        check("beam", f"width {width}", width >= 1, "at least 1")
        normal = alphabet.normalise(" ".join(words))
        self.words = tuple(sorted(set(normal.split())))
        if not self.words:
            raise InputError("vocabulary: got no words; expected one or more")
        self._spellings = [alphabet.encode(word, "the vocabulary").tolist() for word in self.words]
        self._space = alphabet.characters.index(" ") + 1
        trie = flashlight.Trie(alphabet.size, self._space)
        for number, spelling in enumerate(self._spellings):
            trie.insert([*spelling, self._space], number, 0.0)
        options = flashlight.LexiconDecoderOptions(
            beam_size=width,
            beam_size_token=alphabet.size,
            beam_threshold=-NEVER,
            lm_weight=0.0,
            word_score=0.0,
            unk_score=-np.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        self._decoder = flashlight.LexiconDecoder(
            options, trie, flashlight.ZeroLM(), self._space, alphabet.blank, -1, [], False
        )

    def __call__(self, logits: Any, lengths: Any) -> list[list[int]]:
        """Return the class numbers of each utterance, as `greedy` does.

        Raises:
            InputError: As `greedy`; logits of another alphabet.
        """
        logits, lengths = _checked(logits, lengths)
        found = []
        # Every word ends with a space: the last one gets a frame for it.
        end = np.full((1, logits.shape[-1]), NEVER)
        end[0, self._space] = 0.0
        for rows, length in zip(logits, lengths, strict=True):
            frames = np.concatenate([log_softmax(rows[:length]), end])
            frames = np.ascontiguousarray(frames, np.float32)
            best = self._decoder.decode(frames.ctypes.data, *frames.shape)
            ids: list[int] = []
            for number in best[0].words if best else []:
                if number >= 0:
                    ids += [self._space] * bool(ids) + self._spellings[number]
            found.append(ids)
        return found


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """Return the words of a text file, such as a vocabulary or transcripts.

    Raises:
        InputError: No such file, larger than `LARGEST`, or no text in UTF-8.
    """
    return read_text(path, "a text file of words", LARGEST).split()
