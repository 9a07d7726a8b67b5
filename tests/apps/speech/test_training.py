import dataclasses
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from apps.speech.alphabet import Alphabet
from apps.speech.batches import Material, scoring_data, training_data
from apps.speech.decode import beam
from apps.speech.evaluate import WordErrorRate, error_rates
from apps.speech.model import ModelConfig, Recognition, build

ALPHABET = Alphabet(" AB")
CONFIG = ModelConfig(
    front_end={"kind": "log_mel", "bands": 8},
    alphabet=ALPHABET.characters,
    bands=8,
    channels=(2, 2),
    kernels=((3, 3), (3, 3)),
    cell="lstm",
    layers=1,
    units=4,
)


def material(count=7, seed=0):
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(16 + 5 * k, 8)).astype("float32") for k in range(count)]
    labels = [rng.integers(1, 4, size=2 + k % 2).astype("int32") for k in range(count)]
    names = [SimpleNamespace(id=f"u{k}", text=ALPHABET.decode(y)) for k, y in enumerate(labels)]
    return Material(tuple(names), features, labels)


def seen(data):
    return [x["lengths"].numpy().tolist() for x, _ in data]


def test_the_order_of_training_data_is_a_function_of_the_epoch():
    def make():
        return training_data(material(), 4, batch_size=2, seed=3, augment=None)

    first, second = make(), make()
    second.epoch = 5
    seen(second)
    second.epoch = 1
    first.epoch = 1
    assert seen(first) == seen(second)
    first.epoch = 2
    assert seen(first) != seen(second)


def test_the_first_epochs_go_from_short_to_long():
    augment = lambda features, lengths, seed: features + 100.0  # noqa: E731
    data = training_data(material(), 4, batch_size=2, seed=3, augment=augment, sorted_epochs=1)
    assert len(seen(data)) == int(data.cardinality())
    lengths = [n for batch in seen(data) for n in sorted(batch)]
    assert lengths == sorted(lengths)
    assert max(float(tf.reduce_max(x["features"])) for x, _ in data) < 50
    data.epoch = 1
    later = [n for batch in seen(data) for n in sorted(batch)]
    assert later != sorted(later)
    assert sorted(later) == lengths
    assert min(float(tf.reduce_min(x["features"])) for x, _ in data) > 50


def test_fit_sees_each_epochs_own_order():
    data = training_data(material(), 4, batch_size=2, seed=3, augment=None)
    expected = []
    for epoch in range(3):
        data.epoch = epoch
        expected.append(sorted(map(tuple, seen(data))))
    model = build(CONFIG)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    batches = []
    original = model.compute_loss

    def spy(x, *args, **kwargs):
        batches.append(tuple(x["lengths"].numpy().tolist()))
        return original(x, *args, **kwargs)

    model.compute_loss = spy
    model.fit(data, epochs=3, verbose=0, callbacks=[data.follow()])
    steps = len(batches) // 3
    assert [sorted(batches[steps * k : steps * (k + 1)]) for k in range(3)] == expected
    assert expected[0] != expected[1]


def test_scoring_data_holds_every_utterance_once():
    lengths = [n for x in scoring_data(material()) for n in x["lengths"].numpy().tolist()]
    assert sorted(lengths) == [16 + 5 * k for k in range(7)]


def test_a_compiled_recognition_follows_the_models_weights():
    model = build(CONFIG)
    recognition = Recognition(model)
    batch = next(iter(scoring_data(material())))
    before, lengths = recognition.logits(batch)
    inputs = {name: batch[name] for name in ("features", "lengths")}
    np.testing.assert_allclose(before, model(inputs), atol=1e-6)
    np.testing.assert_array_equal(lengths, -(-batch["lengths"].numpy() // 4))
    model.get_layer("logits").bias.assign([1.0, 2.0, 3.0, 4.0])
    after, _ = recognition.logits(batch)
    np.testing.assert_allclose(
        after - before, np.broadcast_to([1, 2, 3, 4], after.shape), atol=1e-5
    )


def test_a_compiled_recognition_follows_the_hidden_activation():
    model = build(dataclasses.replace(CONFIG, cell="hlstm"))
    recognition = Recognition(model)
    batch = next(iter(scoring_data(material())))
    inputs = {name: batch[name] for name in ("features", "lengths")}
    before, _ = recognition.logits(batch)
    layer = model.get_layer("bi_hlstm_1")
    for direction in (layer.forward_layer, layer.backward_layer):
        direction.hidden_activation = "tanh"
    after, _ = recognition.logits(batch)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model(inputs), atol=1e-6)


def always(model, symbol):
    """Make the model write one symbol in every frame."""
    model.get_layer("logits").kernel.assign(tf.zeros_like(model.get_layer("logits").kernel))
    model.get_layer("logits").bias.assign(np.eye(4, dtype="float32")[symbol])


def test_error_rates_count_words_against_the_labels():
    model = build(CONFIG)
    always(model, 2)  # "A" everywhere, merged to one "A"
    texts = ["A", "B A", "A"]
    features = [np.zeros((16, 8), "float32")] * 3
    made = Material((), features, [ALPHABET.encode(text) for text in texts])
    rates = error_rates(Recognition(model), scoring_data(made), ALPHABET)
    assert (rates.words.errors, rates.words.total) == (1, 4)
    search = partial(beam, width=4)
    searched = error_rates(Recognition(model), scoring_data(made), ALPHABET, search)
    assert searched.words == rates.words


def test_the_word_error_rate_goes_into_the_logs():
    made = material()
    model = build(CONFIG)
    always(model, 0)
    rates = WordErrorRate(scoring_data(made), ALPHABET)
    rates.set_model(model)
    logs = {"loss": 1.0}
    rates.on_epoch_end(0, logs)
    words = sum(len(text.split()) for text in made.texts)
    assert logs == {"loss": 1.0, "val_wer": 1.0, "val_cer": 1.0, "val_word_errors": words}
