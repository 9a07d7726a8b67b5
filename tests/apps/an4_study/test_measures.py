import numpy as np
import pytest

from apps.an4_study.measures import count_layers, hidden_zeros, stages
from apps.common.errors import InputError
from apps.common.plan import GrowAndPruneRecipe
from apps.speech.model import ModelConfig, build
from tests.apps.conftest import TINY

UNITS, HIDDEN = 3, 5


def model(cell="hlstm"):
    return build(
        ModelConfig({}, " AB", bands=8, channels=(2, 2), kernels=((3, 3), (3, 3)), cell=cell,
                    layers=1, units=UNITS, hidden_units=(HIDDEN,))
    )  # fmt: skip


def layer_inputs(network, layer, rows, monkeypatch):
    """What a layer of the network is called with on an utterance."""
    seen = []
    original = layer.call

    def call(sequences, **kwargs):
        seen.append(np.array(sequences)[0])
        return original(sequences, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(layer, "call", call)
        network({"features": rows[None], "lengths": np.array([len(rows)], "int32")})
    return seen[0]


def zeros_of(cell, sequences):
    """How often each hidden neuron is zero, `(gates, hidden)`, and the steps, one step a call."""
    counts, steps = np.zeros((4, HIDDEN)), 0
    kernel, recurrent, bias = (
        np.array(each) for each in (cell.kernel, cell.recurrent_kernel, cell.bias)
    )
    for sequence in sequences:
        states = [np.zeros((1, UNITS), "float32")] * 2
        for x in sequence:
            h = np.array(states[0])[0]
            first = np.einsum("i,igh->gh", x, kernel) + np.einsum("i,igh->gh", h, recurrent) + bias
            counts += first <= 0
            steps += 1
            _, states = cell(x[None], states)
    return counts, steps


def test_zeros_of_hidden_layers_are_those_of_the_cells_own_arithmetic(monkeypatch):
    network = model()
    layer = network.get_layer("bi_hlstm_1")
    cells = layer.forward_layer.cell, layer.backward_layer.cell
    # The input gate's first hidden neuron feeds nothing: it neither counts nor saves.
    kernel = np.array(cells[0].output_kernel)
    kernel[0, 0] = 0
    cells[0].output_kernel.assign(kernel)
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(frames, 8)).astype("float32") for frames in (9, 14)]
    inputs = [layer_inputs(network, layer, rows, monkeypatch) for rows in features]
    zeros = saved = 0.0
    for cell, order in zip(cells, (1, -1), strict=True):
        counts, steps = zeros_of(cell, [sequence[::order] for sequence in inputs])
        assert steps == 3 + 4
        feeds = np.count_nonzero(np.array(cell.output_kernel), axis=-1)
        zeros += (counts / steps)[feeds > 0].sum()
        saved += 2 * (counts / steps * feeds).sum()

    activations = [cell.hidden_activation for cell in cells]
    [[name, share, flops, spared]] = hidden_zeros(network, features)
    assert name == "bi_hlstm_1"
    assert share == pytest.approx(zeros / (2 * 4 * HIDDEN - 1))
    assert spared == pytest.approx(saved)
    [connections] = [have for layer, have, _ in count_layers(network) if layer == name]
    assert flops == 2 * connections
    assert [cell.hidden_activation for cell in cells] == activations


def test_a_network_without_hidden_layers_has_no_zeros_to_count():
    assert hidden_zeros(model("lstm"), [np.zeros((9, 8), "float32")]) == []


def test_a_missing_model_is_named(tmp_path):
    recipe = TINY.__class__(grow_and_prune=GrowAndPruneRecipe())
    (tmp_path / "grown.keras").touch()
    assert list(stages(tmp_path, recipe, 0)) == ["trained"]
    with pytest.raises(InputError, match=r"iteration-1.keras: no such model; delete the run"):
        stages(tmp_path, recipe, 1)
