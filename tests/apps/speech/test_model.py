import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from apps.speech.model import ModelConfig, SpeechRecognizer, build
from tests.tiers import few

FRONT_END = {"class_name": "LogMel", "config": {"bands": 8}}
SMALL = ModelConfig(
    front_end=FRONT_END,
    alphabet=" ab",
    bands=8,
    channels=(2, 3),
    kernels=((5, 3), (3, 3)),
    cell="lstm",
    layers=2,
    units=4,
)


@pytest.fixture(scope="module")
def models():
    made = {}

    def make(cell, bidirectional=True):
        key = cell, bidirectional
        if key not in made:
            config = dataclasses.replace(SMALL, cell=cell, bidirectional=bidirectional)
            made[key] = build(config)
            disturb_the_norms(made[key])
        return made[key]

    return make


def disturb_the_norms(model):
    """Give batch normalisation an offset, so that padding would show if it got through."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(size=layer.beta.shape))
            layer.moving_mean.assign(rng.normal(size=layer.beta.shape))


def batch(lengths, frames=None, seed=0, fill=0.0):
    rng = np.random.default_rng(seed)
    features = np.full((len(lengths), frames or max(lengths), 8), fill, "float32")
    for row, length in enumerate(lengths):
        features[row, :length] = rng.normal(size=(length, 8))
    return {"features": features, "lengths": np.array(lengths, "int32")}


@pytest.mark.representatives("hlstm-True", "gru-False")
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", ["hlstm", "lstm", "gru"])
def test_padding_changes_no_valid_output(models, cell, bidirectional):
    model = models(cell, bidirectional)

    @few(3)
    @given(
        lengths=st.lists(st.integers(1, 14), min_size=1, max_size=3),
        extra=st.integers(0, 7),
        fill=st.sampled_from([0.0, 7.0, np.nan]),
    )
    def check(lengths, extra, fill):
        padded = model(batch(lengths, max(lengths) + extra, fill=fill)).numpy()
        whole = batch(lengths)
        for row, length in enumerate(lengths):
            alone = {
                "features": whole["features"][row : row + 1, :length],
                "lengths": whole["lengths"][row : row + 1],
            }
            kept = model.output_lengths(length)
            np.testing.assert_allclose(padded[row, :kept], model(alone)[0], atol=2e-6)

    check()


def test_padding_changes_no_batch_statistics(models):
    model = models("lstm")
    lengths = [9, 5]
    before = model.get_weights()
    outputs, statistics = [], []
    for extra in (0, 6):
        model.set_weights(before)
        outputs.append(model(batch(lengths, 9 + extra, fill=3.0), training=True).numpy())
        statistics.append([v.numpy() for v in model.non_trainable_variables])
    model.set_weights(before)
    np.testing.assert_allclose(outputs[0][0, :3], outputs[1][0, :3], atol=1e-5)
    np.testing.assert_allclose(outputs[0][1, :2], outputs[1][1, :2], atol=1e-5)
    for a, b in zip(*statistics, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_frame_changes_earlier_outputs_only_of_a_bidirectional_network(models):
    changed = batch([40])
    changed["features"] = changed["features"].copy()
    changed["features"][0, 39] += 5.0
    for bidirectional in (True, False):
        model = models("lstm", bidirectional)
        difference = np.abs(model(batch([40]))[0] - model(changed)[0]).max(axis=-1)
        assert difference[-1] > 1e-4
        assert (difference[0] > 1e-7) == bidirectional


def test_four_frames_make_one_output_frame(models):
    model = models("lstm")
    assert model.time_stride == 4
    for frames in range(1, 10):
        assert model(batch([frames])).shape == (1, -(-frames // 4), 4)
        assert model.output_lengths(frames) == -(-frames // 4)


@pytest.mark.parametrize("cell", ["hlstm", "lstm", "gru"])
def test_a_keras_file_reloads_with_front_end_and_alphabet(models, cell, tmp_path):
    model = models(cell)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(loaded, SpeechRecognizer)
    assert loaded.speech_input.front_end == FRONT_END
    assert loaded.speech_input.alphabet == " ab"
    np.testing.assert_array_equal(loaded(batch([9, 4])), model(batch([9, 4])))


def test_a_clone_made_layer_by_layer_keeps_class_front_end_and_alphabet(models):
    clone = keras.models.clone_model(
        models("lstm"), clone_function=lambda layer: type(layer).from_config(layer.get_config())
    )
    assert isinstance(clone, SpeechRecognizer)
    assert clone.speech_input.front_end == FRONT_END
    assert clone.time_stride == 4


@pytest.mark.compiled
def test_fit_learns_a_fixed_batch():
    model = build(SMALL)
    x = batch([16, 20, 12])
    y = {
        "labels": np.array([[1, 2, 0], [3, 2, 2], [3, 0, 0]], "int32"),
        "label_lengths": np.array([2, 3, 1], "int32"),
    }
    data = tf.data.Dataset.from_tensors((x, y)).repeat(30)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = model.fit(data, epochs=2, verbose=0, validation_data=data.take(1)).history
    assert history["loss"][1] < 0.25 * history["loss"][0]
    assert history["val_loss"][1] < 0.5 * history["val_loss"][0]


def test_the_loss_weighs_utterances_and_adds_the_layers_own_losses():
    model = build(SMALL)
    x, logits = batch([16, 16]), tf.random.stateless_normal((2, 4, 4), (0, 1))
    y = {"labels": np.array([[1], [2]]), "label_lengths": np.array([1, 1])}
    plain = model.compute_loss(x=x, y=y, y_pred=logits)
    weighted = model.compute_loss(x=x, y=y, y_pred=logits, sample_weight=np.array([2.0, 0.0]))
    first = model.compute_loss(
        x={"lengths": x["lengths"][:1]},
        y={"labels": y["labels"][:1], "label_lengths": y["label_lengths"][:1]},
        y_pred=logits[:1],
    )
    assert float(weighted) == pytest.approx(float(first), rel=1e-6)
    assert float(plain) != pytest.approx(float(first))
    model.get_layer("logits").kernel.regularizer = keras.regularizers.L2(1.0)
    with_penalty = model.compute_loss(x=x, y=y, y_pred=logits)
    squares = float(tf.reduce_sum(model.get_layer("logits").kernel ** 2))
    assert float(with_penalty - plain) == pytest.approx(squares, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "rnn"}, "cell must be one of hlstm, lstm, gru; got 'rnn'"),
        ({"units": 0}, "units must be at least 1; got 0"),
        ({"kernels": ((4, 3), (3, 3))}, "kernels must have odd sizes"),
    ],
)
def test_a_wrong_configuration_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize("cell", ["hlstm", "lstm", "gru"])
@pytest.mark.parametrize("form", ["low-rank", "shared-low-rank", "kronecker", "hybrid"])
def test_recurrent_matrices_take_a_form_of_few_weights(cell, form):
    given = {"matrix_form": form, "matrix_parameters": 0.4}
    config = dataclasses.replace(SMALL, cell=cell, units=16, **given)
    dense = build(dataclasses.replace(config, matrix_form="dense"))
    compact = build(config)

    def matrices(model):
        kernels = hl.masked_kernels(model)
        return sum(kernel.variable.shape.num_elements() for kernel in kernels)

    assert matrices(compact) <= 0.4 * matrices(dense)
    first, second = (layer for layer in compact.layers if layer.name.startswith("bi_"))
    below, above = (layer.forward_layer.kernel_form["kernel"] for layer in (first, second))
    if form == "hybrid":
        assert below == hl.ToeplitzLike(parameters=0.4)
        assert above == hl.SharedLowRank(parameters=0.4)
    else:
        assert below == above
    logits = compact(batch([9, 5]))
    assert logits.shape[0] == 2
    assert np.isfinite(logits).all()
