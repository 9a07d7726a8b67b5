"""The embedded corpus: spoken alphanumerics, synthesised on the spot and cached."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.common.files import made_beside, write_json
from apps.common.progress import Progress
from apps.common.recipe import check
from apps.common.text import read_json
from apps.speech import audio, channel, phrases, voices
from apps.speech.utterance import SPLITS, Corpus, SplitName, Utterance

MANIFEST = "manifest.json"
# Raised whenever the same parameters would give other bytes, so that old caches are not taken.
FORMAT = 3
_SHARE = 100  # utterances that are worth a process, which takes a second to start


@dataclasses.dataclass(frozen=True)
class _Take:
    """One utterance still to be synthesised."""

    id: str
    speaker: str
    text: str
    spoken: str
    voice: voices.Voice
    channel: channel.Channel
    seed: tuple[int, ...]

    @property
    def file(self) -> str:
        return f"wav/{self.speaker}/{self.id}.wav"


def synthesise(
    directory: str | os.PathLike[str],
    seed: int = 0,
    *,
    train: int = 2000,
    valid: int = 200,
    test: int = 300,
    speakers: tuple[int, int, int] = (60, 8, 12),
    accents: Sequence[str] | None = None,
    telephone: float = 1 / 8,
    sample_rate: int = audio.SAMPLE_RATE,
    workers: int | None = None,
    quiet: bool = False,
) -> Corpus:
    """Synthesises the corpus into `directory`, or reads it if it is there already.

    Sentences come from `apps.speech.phrases`, speakers from `apps.speech.voices` (no voice of one
    split speaks in another), recording conditions from `apps.speech.channel`. The files are
    16-bit mono WAV. Equal parameters give equal bytes, in any process and with any number of
    workers. The folder is written beside and renamed when it is complete.

    Args:
        directory: where it goes; must not exist, be empty, or hold this same corpus.
        seed: of everything random.
        train, valid, test: utterances in each split; `train` at least 1.
        speakers: how many in each split; a split with fewer utterances uses fewer.
        accents: which ones speakers have; see `apps.speech.voices.cast`.
        telephone: share of the utterances heard over a telephone line, which passes 300 to 3400 Hz.
        sample_rate: of the files, in Hz.
        workers: processes; default one a core, fewer for a small corpus.
        quiet: no progress on standard error.

    Returns:
        Corpus with the splits in the order of their utterances' ids.

    Raises:
        InputError: `directory` holds something else; a count out of range; the package
            espeakng-loader is missing.

    Example:
        >>> import tempfile
        >>> corpus = synthesise(Path(tempfile.mkdtemp()) / "toy", train=2, valid=1, test=1,
        ...                     quiet=True)
        >>> len(corpus.train), corpus.train[0].id
        (2, 'train-00000')
    """
    directory = Path(directory)
    counts = {"train": train, "valid": valid, "test": test}
    parameters = {
        "format": FORMAT, "seed": seed, "utterances": counts, "speakers": list(speakers),
        "accents": None if accents is None else list(accents), "telephone": telephone,
        "sample_rate": sample_rate,
    }  # fmt: skip
    check("seed", seed, seed >= 0, "0 or more")
    for split in SPLITS:
        least = 1 if split == "train" else 0
        check(split, f"{counts[split]} utterances", counts[split] >= least, f"at least {least}")
    three = len(speakers) == len(SPLITS) and min(speakers) >= 1
    check("speakers", speakers, three, "three numbers of at least 1 (train, valid, test)")
    check("telephone", telephone, 0 <= telephone <= 1, "a share, 0 to 1")
    check("sample_rate", f"{sample_rate} Hz", 8000 <= sample_rate <= 48000, "8000 to 48000")
    if _reusable(directory, parameters):
        return read_synthesised(directory)
    with made_beside(directory, lambda: _reusable(directory, parameters)) as partial:
        casts = {split: voices.cast(split, max(1, min(speakers[k], counts[split])), seed, accents)
                 for k, split in enumerate(SPLITS)}  # fmt: skip
        # Who says what, how, and over which line: everything random but the noise itself.
        takes: dict[SplitName, list[_Take]] = {
            split: [
                _take(f"{split}-{i:05d}", cast[i % len(cast)], telephone, (seed, k, i))
                for i in range(counts[split])
            ]
            for k, (split, cast) in enumerate(casts.items())
        }
        _record([t for split in SPLITS for t in takes[split]], partial, sample_rate, workers, quiet)
        write_json(partial / MANIFEST, _manifest(parameters, takes))
    return read_synthesised(directory)


def read_synthesised(directory: str | os.PathLike[str]) -> Corpus:
    """Reads a folder that `synthesise` made.

    Raises:
        InputError: no manifest there, one that is damaged, or audio that is missing.
    """
    directory = Path(directory)
    manifest = _read_manifest(directory)
    try:
        splits = {
            split: tuple(_utterance(directory, item) for item in manifest["utterances"][split])
            for split in SPLITS
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{directory / MANIFEST}: damaged ({type(error).__name__}: {error}); delete the folder"
            " and prepare it again"
        ) from error
    missing = [u for split in SPLITS for u in splits[split] if not u.audio.is_file()]
    if missing:
        raise InputError(
            f"{missing[0].audio}: missing, and {len(missing) - 1} more of the corpus in"
            f" {directory}; delete the folder and prepare it again"
        )
    return Corpus("synthesised", **splits)


def _utterance(directory: Path, item: dict[str, str]) -> Utterance:
    texts = [item[name] for name in ("id", "speaker", "text", "file")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"got {texts}, expected texts")
    name, speaker, text, file = texts
    return Utterance(name, speaker, text, directory / file)


def _take(name: str, speaker: voices.Speaker, telephone: float, seed: tuple[int, ...]) -> _Take:
    rng = np.random.default_rng([*seed, 0])
    text = phrases.sentence(rng).text
    voice = dataclasses.replace(
        speaker.voice,
        pitch=int(np.clip(speaker.voice.pitch + rng.integers(-6, 7), 0, 99)),
        rate=int(np.clip(speaker.voice.rate * rng.uniform(0.9, 1.1), 120, 240)),
    )
    spoken = _spoken(text, pause=float(rng.choice((0.0, 0.1, 0.4))), rng=rng)
    line = channel.Channel.random(rng, telephone)
    return _Take(name, speaker.code, text, spoken, voice, line, seed)


def _spoken(text: str, pause: float, rng: np.random.Generator) -> str:
    """The text as eSpeak NG should say it: the letter A by its name (alone it would be the
    article), a pause after a share of the words."""
    words = ["[['eI]]" if word == "A" else word.lower() for word in text.split()]
    stops = [", " if rng.random() < pause else " " for _ in words[1:]]
    return "".join(word + stop for word, stop in zip(words, [*stops, ""], strict=True))


def _render(take: _Take, folder: Path, sample_rate: int) -> None:
    rng = np.random.default_rng([*take.seed, 1])
    voice_seed = 1 + int(rng.integers(2**31 - 1))
    speech = voices.speak(take.spoken, take.voice, voice_seed).astype(np.float32) / 32768.0
    speech = audio.resample(speech, voices.SAMPLE_RATE, sample_rate)
    recording = take.channel.apply(speech, sample_rate, rng)
    path = folder / take.file
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not soundfile: it waits for the disk after every file, which takes as long as the synthesis.
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))
        file.writeframes(np.round(recording * 32767.0).astype("<i2").tobytes())


def _record(
    takes: list[_Take], folder: Path, sample_rate: int, workers: int | None, quiet: bool
) -> None:
    count = max(1, min(workers or os.cpu_count() or 1, len(takes) // _SHARE))
    with Progress(len(takes), "synthesise speech", quiet=quiet) as progress:
        if count == 1:
            for take in takes:
                _render(take, folder, sample_rate)
                progress.step()
            return
        # Not in threads: eSpeak NG has one voice at a time. And not by `multiprocessing`, which
        # would run the caller's script again in each process.
        command = [sys.executable, "-c", "from apps.speech.corpus import _work; _work()"]
        path = os.pathsep.join(part or "." for part in sys.path)
        receiver, sender = os.pipe()
        with contextlib.ExitStack() as stack:
            lines = stack.enter_context(open(receiver, encoding="utf-8"))
            processes = []
            with open(sender, "wb") as output:
                for k in range(count):
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=output,
                        env={**os.environ, "PYTHONPATH": path},
                    )
                    stack.callback(process.wait)
                    stack.callback(process.kill)
                    processes.append(process)
                    assert process.stdin is not None
                    with process.stdin as given:
                        pickle.dump((takes[k::count], folder, sample_rate), given)
            for line in lines:  # until the last process has closed its end
                if line != _DONE:
                    raise InputError(line.rstrip())
                progress.step()
            if any(process.wait() for process in processes):
                raise ChildProcessError("synthesis failed in a process; its message is above")


_DONE = "done\n"


def _work() -> None:
    """Render what standard input has; print a line for each utterance, or a user's mistake."""
    takes, folder, sample_rate = pickle.load(sys.stdin.buffer)
    try:
        for take in takes:
            _render(take, folder, sample_rate)
            print(_DONE, end="", flush=True)
    except InputError as error:
        print(" ".join(str(error).split()), flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


def _manifest(parameters: dict[str, Any], takes: dict[SplitName, list[_Take]]) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "hash": _hash(parameters),
        "utterances": {
            split: [
                {"id": take.id, "speaker": take.speaker, "text": take.text, "file": take.file,
                 "channel": dataclasses.asdict(take.channel)}
                for take in takes[split]
            ]
            for split in SPLITS
        },
    }  # fmt: skip


def _hash(parameters: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{directory}: no {MANIFEST}, so it is not a synthesised corpus; prepare it first"
        )
    manifest = read_json(path, "a corpus's manifest", "delete the folder and prepare it again")
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: damaged; delete the folder and prepare it again")
    return manifest


def _reusable(directory: Path, parameters: dict[str, Any]) -> bool:
    if directory.is_file():
        raise InputError(f"{directory}: is a file; expected a folder for the corpus")
    if not directory.exists() or not any(directory.iterdir()):
        return False
    if not (directory / MANIFEST).exists():
        raise InputError(
            f"{directory}: holds other files; give an empty or new folder for the corpus"
        )
    if _read_manifest(directory).get("hash") != _hash(parameters):
        raise InputError(
            f"{directory}: holds a corpus made with other parameters (see its {MANIFEST});"
            " delete it or give another folder"
        )
    return True
