"""Speech recognition: a DeepSpeech2-shaped network with H-LSTM layers, trained by grow-and-prune.

Data comes from one of three readers that all return a `apps.speech.utterance.Corpus`:

- `apps.speech.corpus.synthesise`: spoken alphanumerics made on the spot, nothing to download;
- `apps.speech.an4.read_an4`: the CMU AN4 corpus in its official layout;
- `apps.speech.folder.read_folder`: any folder of audio files with a CSV of transcripts.

`apps.speech.folder.open_corpus` picks the reader from what a folder holds.
"""
