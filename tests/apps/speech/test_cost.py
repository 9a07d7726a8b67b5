import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.speech.cli import main
from apps.speech.cost import PARTS, cost_of, measure
from apps.speech.front_end import LogMel
from apps.speech.model import ModelConfig, build
from apps.speech.recipe import preset
from apps.speech.recognizer import load_recognizer
from apps.speech.train import build_from
from tests.apps.speech.test_transcribe import KEPT

TINY = ModelConfig(
    front_end=LogMel(bands=8).config(),
    alphabet=" AB",
    bands=8,
    channels=(2, 3),
    kernels=((3, 3), (5, 3)),
    strides=((2, 2), (2, 2)),
    cell="lstm",
    layers=1,
    units=4,
)


def test_flops_of_a_second_are_those_counted_by_hand():
    # 100 feature frames a second, 50 after the first convolution and 25 after the second; 8 bands,
    # then 4, then 2.
    first = 50 * 4 * (3 * 3 * 1 * 2)
    second = 25 * 2 * (5 * 3 * 2 * 3)
    lstm = 25 * 2 * (4 * 4 * (2 * 3 + 4))  # two directions of four gates
    output = 25 * (2 * 4) * 4
    assert cost_of(build(TINY)).flops == pytest.approx(2 * (first + second + lstm + output))


@pytest.mark.representatives(
    "0.0-{}",
    "0.6-{'strides': ((4, 2), (2, 2))}",
    "0.6-{'cell': 'hlstm', 'layers': 2, 'hidden_units': (5,)}",
    "0.0-{'cell': 'hlstm', 'layers': 2, 'bidirectional': False}",
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strides": ((1, 1), (1, 2))},
        {"strides": ((1, 2), (2, 1))},
        {"strides": ((4, 2), (2, 2))},
        {"strides": ((2, 2), (1, 1)), "bidirectional": False},
        {"cell": "gru", "layers": 3},
        {"cell": "hlstm", "layers": 2, "hidden_units": (5,)},
        {"cell": "hlstm", "layers": 2, "bidirectional": False},
        {"front_end": LogMel(bands=8, hop=0.02).config()},
        {"front_end": LogMel(bands=8, hop=0.005).config(), "dropout": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("sparsity", [0.0, 0.6])
def test_flops_of_a_second_are_multiplications_at_every_output_frame(changes, sparsity):
    config = dataclasses.replace(TINY, **changes)
    model = hl.sparsify(build(config), sparsity=sparsity, seed=0)
    seconds = 8
    frames = round(seconds / config.front_end["hop"])
    living = {k.path: int(np.count_nonzero(k.mask)) for k in hl.masked_kernels(model)}
    expected, time, bands = 0, frames, config.bands
    for number, stride in enumerate(config.strides, 1):
        time, bands = math.ceil(time / stride[0]), math.ceil(bands / stride[1])
        expected += 2 * time * bands * living[f"conv_{number}/kernel"]
    expected += 2 * time * sum(n for path, n in living.items() if not path.startswith("conv_"))
    found = cost_of(model)
    assert found.connections == sum(living.values())
    assert found.flops * seconds == pytest.approx(expected)


def test_the_demos_stacked_lstm_costs_what_the_readme_says():
    cost = cost_of(build_from(preset("demo-lstm")))
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith("| stacked LSTM "))
    assert f"| {cost.connections:,} " in row
    assert f"| {cost.flops / 1e6:.2f} " in row


def test_the_parts_make_up_the_whole(toy_corpus):
    recognizer = load_recognizer(KEPT)
    files = [utterance.audio for utterance in toy_corpus.test]
    found = measure(recognizer, files, rounds=2)
    assert 1 < found.audio < 30
    assert tuple(found.parts) == PARTS
    assert found.stream is None
    # What `transcribe` does between its parts is little; the clock's ticks are not.
    assert sum(found.parts.values()) == pytest.approx(found.whole, rel=0.5)
    assert 0 < found.factor < 0.5
    with pytest.raises(InputError, match="got no recordings"):
        measure(recognizer, [])


def test_the_command_prints_shares_and_a_factor(toy_folder, capsys):
    command = ["speed", "--model", str(KEPT), "--data-dir", str(toy_folder), "--rounds", "1"]
    assert main([*command, "--utterances", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 recordings" in out
    assert len(re.findall(r"\| \d+% +\|", out)) == len(PARTS) + 1
    factor, times = re.search(r"real-time factor (\S+): (\d+) times faster", out).groups()
    assert float(factor) * int(times) == pytest.approx(1, rel=0.05)
