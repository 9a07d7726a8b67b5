"""Summary: counts worked out by hand, and the table."""

import gzip
import json

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.transforms import Summary, shrink, sparsify, strip, summary
from tests.transforms.models import cut_inputs, dense_net, randomize, recurrent_net

layers = keras.layers


def _counts(model: keras.Model) -> Summary:
    return summary(model, print_fn=None)


def test_a_dense_net_is_counted_as_by_hand() -> None:
    counts = _counts(keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.Dense(3)]))
    assert counts.connections == 8 * 4 + 4 * 3
    assert counts.parameters == 8 * 4 + 4 + 4 * 3 + 3
    assert counts.flops == 2 * (8 * 4 + 4 * 3)
    assert counts.bytes == 4 * counts.parameters
    assert counts.sparsity == 0.0


def test_masked_and_stripped_models_have_the_same_counts() -> None:
    model = sparsify(keras.Sequential([keras.Input((8,)), layers.Dense(4)]), 0.75)
    masked, stripped = _counts(model), _counts(strip(model))
    assert masked.connections == stripped.connections == 8
    assert masked.sparsity == stripped.sparsity == 0.75
    assert masked.parameters == 8 + 4
    assert masked.flops == 16
    assert masked.bytes == stripped.bytes == 4 * (32 + 4)
    assert masked.gzipped_bytes == stripped.gzipped_bytes


def test_a_connection_of_weight_zero_exists_where_the_mask_says_so() -> None:
    model = keras.Sequential(
        [keras.Input((3,)), hl.MaskedDense(2, kernel_initializer="zeros", use_bias=False)]
    )
    data = _counts(model).to_dict()
    assert (data["connections"], data["nonzero"], data["places"]) == (6, 0, 6)
    assert _counts(strip(model)).connections == 0


def test_lenet_5_has_the_flops_of_its_published_shape() -> None:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120),
            layers.Dense(84),
            layers.Dense(10),
        ]
    )
    counts = _counts(model)
    assert counts.connections == 150 + 2400 + 48000 + 10080 + 840
    assert counts.parameters == 61706
    by_layer = [layer["flops"] for layer in counts.to_dict()["layers"]]
    assert by_layer == [2 * 150 * 784, 2 * 2400 * 100, 96000, 20160, 1680]


def test_a_recurrent_model_is_counted_for_one_step() -> None:
    model = keras.Sequential(
        [
            keras.Input((20, 6)),
            layers.Conv1D(5, 3),
            layers.LSTM(4, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3)),
            layers.Dense(2),
        ]
    )
    assert _counts(model).flops == 2 * (3 * 6 * 5 + 4 * 4 * (5 + 4) + 4 * 3 + 3 * 2)


def test_open_axes_of_an_image_count_once() -> None:
    model = keras.Sequential([keras.Input((None, 10, 1)), layers.Conv2D(2, 3, padding="same")])
    assert _counts(model).flops == 2 * (9 * 2) * 10


def test_an_embedding_looks_up_and_multiplies_nothing() -> None:
    counts = _counts(keras.Sequential([keras.Input((7,)), layers.Embedding(10, 4)]))
    assert (counts.connections, counts.flops) == (40, 0)


def test_vectors_of_normalization_count_as_biases() -> None:
    model = keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])
    counts = _counts(model)
    assert (counts.connections, counts.parameters, counts.bytes) == (0, 20, 80)
    assert counts.sparsity == 0.0


def test_an_hlstm_is_counted_gate_by_gate() -> None:
    model = keras.Sequential([keras.Input((None, 3)), hl.HLSTM(2, hidden_units=(4, 5))])
    cell = model.layers[0].cell
    [kernel] = [k for k in hl.masked_kernels(model) if k.name == "kernel"]
    mask = np.ones((3, 4, 4), bool)
    mask[:, 1, :2] = False  # 6 connections of the forget gate
    hl.edit_masks({kernel: mask})
    data = _counts(model).to_dict()
    [layer] = data["layers"]
    assert layer["class"] == "HLSTM"
    kernels = {part["name"]: part for part in layer["parts"] if part["kind"] == "kernel"}
    assert list(kernels) == ["kernel", "recurrent_kernel", "hidden_kernel_2", "output_kernel"]
    gates = kernels["kernel"]["parts"]
    assert [gate["name"] for gate in gates] == [
        "input gate", "forget gate", "cell gate", "output gate",
    ]  # fmt: skip
    assert [gate["connections"] for gate in gates] == [12, 6, 12, 12]
    assert [gate["sparsity"] for gate in gates] == [0, 0.5, 0, 0]
    assert data["places"] == 4 * (3 * 4 + 2 * 4 + 4 * 5 + 5 * 2)
    assert data["connections"] == data["places"] - 6
    assert data["biases"] == sum(int(np.prod(b.shape)) for b in (
        cell.bias, cell.hidden_bias_2, cell.output_bias
    ))  # fmt: skip


def test_gates_of_different_widths_are_kernels_of_their_own() -> None:
    layer = hl.HLSTM(2, hidden_units=((4, 5, 1, 2),), masked=False)
    data = _counts(keras.Sequential([keras.Input((None, 3)), layer])).to_dict()
    kernels = [part for part in data["layers"][0]["parts"] if part["kind"] == "kernel"]
    assert [part["name"] for part in kernels] == list(layer.cell.kernel_names)
    assert [part["shape"] for part in kernels[:4]] == [[3, 4], [3, 5], [3, 1], [3, 2]]
    assert not any("parts" in part for part in kernels)
    assert data["places"] == (3 + 2 + 2) * (4 + 5 + 1 + 2)
    assert data["flops"] == 2 * data["connections"]
    assert data["biases"] == (4 + 5 + 1 + 2) + 4 * 2


@pytest.mark.parametrize(
    ("layer", "gates"), [(layers.LSTM, 4), (layers.GRU, 3), (layers.SimpleRNN, 0)]
)
def test_fused_gates_are_told_apart(layer: type[keras.Layer], gates: int) -> None:
    model = keras.Sequential([keras.Input((None, 3)), layer(2)])
    kernel = _counts(model).to_dict()["layers"][0]["parts"][0]
    assert len(kernel.get("parts", [])) == gates
    assert all(gate["shape"] == [3, 2] for gate in kernel.get("parts", []))


def test_the_parts_add_up_to_the_whole() -> None:
    model = sparsify(randomize(recurrent_net()), 0.4)
    whole = _counts(model).model
    fields = ("connections", "nonzero", "places", "biases", "flops", "bytes", "gzipped_bytes")
    for field in fields:
        assert getattr(whole, field) == sum(getattr(layer, field) for layer in whole.parts)
    for layer in whole.parts:
        for kernel in layer.parts:
            if kernel.parts:
                assert kernel.connections == sum(gate.connections for gate in kernel.parts)
    assert whole.places == sum(k.mask.numpy().size for k in hl.masked_kernels(model))
    assert whole.connections == sum(int(k.mask.numpy().sum()) for k in hl.masked_kernels(model))


def test_gzipped_bytes_are_those_of_the_compressed_weights() -> None:
    model = randomize(keras.Sequential([keras.Input((30,)), layers.Dense(20, use_bias=False)]))
    raw = model.layers[0].kernel.numpy().tobytes()
    assert _counts(model).gzipped_bytes == len(gzip.compress(raw, 6))
    assert _counts(sparsify(model, 0.9)).gzipped_bytes < _counts(model).gzipped_bytes / 3


def test_a_shrunk_model_has_fewer_bytes_and_the_living_connections() -> None:
    model = randomize(dense_net())
    cut_inputs(model.layers[0], [0, 1])
    before, after = _counts(model), _counts(shrink(model))
    assert after.connections == before.connections - 2 * 4
    assert after.bytes == before.bytes - 4 * (2 * 6 + 2 + 2 * 4)


def test_a_shared_layer_is_counted_once() -> None:
    shared, inputs = layers.Dense(4), keras.Input((4,))
    assert _counts(keras.Model(inputs, shared(shared(inputs)))).connections == 16


def test_the_table_is_printed_once_and_its_columns_are_aligned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = summary(sparsify(recurrent_net(), 0.5))
    table = capsys.readouterr().out
    assert table == str(result) + "\n"
    lines = table.split("\n")
    heading = lines[0]
    assert heading.split()[:3] == ["Layer,", "kernel,", "gate"]
    end = heading.index("Connections") + len("Connections")
    figures = [line[:end].split()[-1] for line in lines[2:] if "gate " in line]
    assert len(figures) > 40
    assert all(figure.replace(",", "").isdigit() for figure in figures)
    assert f"{result.connections:,}" in table
    assert "FLOPs: 2 a connection" in table


def test_levels_leave_out_finer_lines() -> None:
    model = keras.Sequential([keras.Input((None, 3)), layers.LSTM(2, name="lstm")])
    printed: list[str] = []
    for level in ("model", "layer", "kernel", "gate"):
        summary(model, level=level, print_fn=printed.append)
    assert ["lstm (LSTM)" in table for table in printed] == [False, True, True, True]
    assert ["recurrent_kernel" in table for table in printed] == [False, False, True, True]
    assert ["forget gate" in table for table in printed] == [False, False, False, True]
    with pytest.raises(ValueError, match="`level` must be one of model, layer, kernel, gate"):
        summary(model, level="neuron")


def test_the_data_is_json_and_the_repr_one_line() -> None:
    result = _counts(dense_net())
    assert json.loads(json.dumps(result.to_dict()))["connections"] == result.connections
    assert repr(result).endswith(": 62 connections, 74 parameters, 0.0 % sparse>")


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model; got int"):
        summary(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not built"):
        summary(keras.Sequential([layers.Dense(2)]))
