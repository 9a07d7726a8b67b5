"""Finds the reader that a folder needs."""

import os
from pathlib import Path

from apps.common.errors import InputError
from apps.speech.alphabet import ENGLISH, Alphabet
from apps.speech.an4 import is_an4, read_an4
from apps.speech.corpus import MANIFEST, read_synthesised
from apps.speech.folder import find_csv, read_folder
from apps.speech.utterance import Corpus


def open_corpus(directory: str | os.PathLike[str], alphabet: Alphabet = ENGLISH) -> Corpus:
    """Reads a corpus of any kind.

    A folder with `etc/an4_train.fileids` is AN4, one with a `manifest.json` was made by
    `apps.speech.corpus.synthesise`, one with a CSV is a plain folder.

    Args:
        directory: the folder.
        alphabet: transcripts must be written in it.

    Raises:
        InputError: no such folder, or none of these; and what the reader raises.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; expected a corpus")
    if is_an4(directory):
        return read_an4(directory, alphabet=alphabet)
    if (directory / MANIFEST).is_file():
        return read_synthesised(directory)
    if find_csv(directory):
        return read_folder(directory, alphabet=alphabet)
    raise InputError(
        f"{directory}: no corpus that is known: expected AN4's etc/an4_train.fileids, a"
        f" {MANIFEST} of a synthesised corpus, or a CSV with columns path,text[,speaker][,split]"
    )
