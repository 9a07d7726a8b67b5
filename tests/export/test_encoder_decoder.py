"""Step forms of models whose states come from somewhere: translation, captions, beams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.export import StepRunner, export_saved_model, export_tflite
from hlstm_tf.export.layout import input_layout
from hlstm_tf.export.verification import TOLERANCES
from tests.export import models

layers = keras.layers
WORDS, BEAMS = 9, 3


def captioner(
    first: bool = False, masks: bool = False, length: int | None = None, last: bool = False
) -> keras.Model:
    image = keras.Input((6,), name="image")
    words = keras.Input((length,), dtype="int32", name="words")
    y = layers.Embedding(WORDS, 5, mask_zero=masks)(words)
    lstm = hl.HLSTM(4, hidden_units=3, return_sequences=not last)
    if first:
        y = lstm(layers.Concatenate(axis=1)([layers.Reshape((1, 5))(layers.Dense(5)(image)), y]))
    else:
        y = lstm(y, initial_state=[layers.Dense(4)(image), layers.Dense(4)(image)])
    outputs = layers.Dense(WORDS, activation="softmax")(y)
    return models.scrambled(keras.Model([image, words], outputs))


def merged() -> keras.Model:
    image = keras.Input((6,), name="image")
    words = keras.Input((None,), dtype="int32", name="words")
    y = layers.GRU(4, return_sequences=True)(layers.Embedding(WORDS, 5, mask_zero=True)(words))
    y = layers.Add()([y, layers.Reshape((1, 4))(layers.Dense(4)(image))])
    return models.scrambled(keras.Model([image, words], layers.Dense(WORDS)(y)))


def translator(
    both_ways: bool = False, attention: bool = False, masks: bool = False, units: int = 6
) -> keras.Model:
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    x = layers.Embedding(WORDS, 5, mask_zero=masks)(source)
    if both_ways:
        layer = layers.Bidirectional(
            layers.LSTM(units // 2, return_state=True, return_sequences=True)
        )
        seen, a, b, c, d = layer(x)
        states = [layers.Concatenate()([a, c]), layers.Concatenate()([b, d])]
    else:
        seen, *states = layers.LSTM(units, return_state=True, return_sequences=True)(x)
    y = layers.Embedding(WORDS, 5, mask_zero=masks)(target)
    y = layers.LSTM(units, return_sequences=True, name="decoder")(y, initial_state=states)
    if attention:
        y = layers.Concatenate()([y, layers.Attention()([y, seen])])
    return models.scrambled(keras.Model([source, target], layers.Dense(WORDS)(y)))


def stacked_encoder(units: int = 4) -> keras.Model:
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    cells = layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(units)])
    seen = layers.RNN(cells)(layers.Embedding(WORDS, 5, mask_zero=True)(source))
    y = layers.GRU(units, return_sequences=True)(layers.Embedding(WORDS, 5)(target), seen)
    return models.scrambled(keras.Model([source, target], layers.Dense(WORDS)(y)))


def states_given() -> keras.Model:
    x, h = keras.Input((None, 4), name="x"), keras.Input((3,), name="h")
    return models.scrambled(keras.Model([x, h], layers.GRU(3, return_sequences=True)(x, h)))


def repeated() -> keras.Model:
    parts = [layers.LSTM(3), layers.RepeatVector(5), layers.LSTM(4, return_sequences=True)]
    last = layers.TimeDistributed(layers.Dense(2))
    return models.scrambled(keras.Sequential([keras.Input((None, 4), name="x"), *parts, last]))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "captioner": captioner,
    "image_first": lambda: captioner(first=True),
    "image_first_with_masks": lambda: captioner(first=True, masks=True),
    "image_first_of_fixed_length": lambda: captioner(first=True, masks=True, length=6),
    "merged": merged,
    "translator": translator,
    "both_ways_with_masks": lambda: translator(both_ways=True, masks=True),
    "attention": lambda: translator(attention=True),
    "attention_with_masks": lambda: translator(attention=True, masks=True),
    "stacked_encoder": stacked_encoder,
    "states_given": states_given,
    "repeated": repeated,
}
QUANTIZED: dict[str, Callable[[], keras.Model]] = {  # large enough for weights of 8 bits
    "attention": lambda: translator(attention=True, units=32),
    "both_ways": lambda: translator(both_ways=True, masks=True, units=32),
    "stacked_encoder": lambda: stacked_encoder(units=32),
}
STREAMED = {
    "captioner": "words",
    "image_first": "words",
    "image_first_with_masks": "words",
    "merged": "words",
    "translator": "target",
    "both_ways_with_masks": "target",
    "attention": "target",
    "stacked_encoder": "target",
    "states_given": "x",
}
SERVED = {**STREAMED, "image_first_of_fixed_length": "words"}


def exported(model: keras.Model, folder: Path, **arguments: Any) -> StepRunner:
    export_tflite(model, folder / "m.tflite", form="step", **arguments)
    return StepRunner(folder / "m.tflite")


def samples(model: keras.Model, count: int) -> dict[str, np.ndarray]:
    """Random inputs with zeros among the words, for those models that mask them."""
    inputs = input_layout(model).random(count, steps=7)
    rng = np.random.default_rng(1)
    return {
        name: value if value.dtype != np.int32 else value * (rng.random(value.shape) < 0.7)
        for name, value in inputs.items()
    }


def called(model: keras.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return model(input_layout(model).pack(inputs), training=False).numpy()


@pytest.mark.representatives("both_ways_with_masks")
@pytest.mark.parametrize("kind", MODELS)
def test_states_that_come_from_elsewhere_run_in_steps(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    inputs = samples(model, 2)
    runner = exported(model, tmp_path, batch_size=2)
    np.testing.assert_allclose(runner(inputs), called(model, inputs), atol=1e-5)
    if kind in STREAMED:
        frames = inputs.pop(STREAMED[kind])
        stream = runner.stream(inputs)
        found = [stream(frames[:, a:b]) for a, b in ((0, 1), (1, 4), (4, 7))]
        expected = called(model, {**inputs, STREAMED[kind]: frames})
        np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-5)


@pytest.mark.representatives("attention")
@pytest.mark.parametrize("kind", MODELS)
def test_a_served_step_starts_from_whatever_the_model_makes_its_states_of(
    kind: str, tmp_path: Path
) -> None:
    model = MODELS[kind]()
    result = export_saved_model(model, tmp_path / "1", step=True, warmup=False)
    signatures = tf.saved_model.load(str(result.path)).signatures
    inputs = samples(model, 3)
    frames = inputs.pop(SERVED.get(kind, "target"), None)
    given = {name: tf.constant(value) for name, value in inputs.items()}
    states = signatures["initial_state"](batch_size=tf.constant(3), **given)
    found = list(np.swapaxes(states.pop("outputs", np.zeros((3, 0))), 0, 1))
    assert len(found) == kind.startswith("image_first")  # outputs before the first word
    assert set(states) == set(result.states)
    assert not (found and "image" in states)
    for t in range(5 if frames is None else frames.shape[1]):
        frame = {} if frames is None else {SERVED.get(kind, "target"): frames[:, t]}
        fed = {name: tf.constant(value) for name, value in frame.items()}
        results = signatures["step"](**fed, **states)
        states = {name: results[name] for name in states}
        found.append(results["outputs"].numpy())
    whole = inputs if frames is None else {**inputs, SERVED.get(kind, "target"): frames}
    np.testing.assert_allclose(np.stack(found, axis=1), called(model, whole), atol=1e-5)


@pytest.mark.representatives("attention-dynamic")
@pytest.mark.parametrize("quantization", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_quantized_encoder_decoder_in_steps_gives_nearly_what_keras_does(
    kind: str, quantization: str, tmp_path: Path
) -> None:
    model = QUANTIZED[kind]()
    known = {"representative": samples(model, 16)} if quantization == "int8" else {}
    inputs = samples(model, 2)
    arguments = {"batch_size": 2, "quantization": quantization, "verify_with": inputs, **known}
    result = export_tflite(model, tmp_path / "m.tflite", form="step", **arguments)
    assert result.error > 1e-5  # its weights are rounded
    runner = StepRunner(result.path)
    expected = called(model, inputs)
    limit = TOLERANCES[quantization] * np.ptp(expected)
    np.testing.assert_allclose(runner(inputs), expected, atol=limit, rtol=0)
    stream = runner.stream({"source": inputs["source"]})
    found = [stream(inputs["target"][:, a:b]) for a, b in ((0, 3), (3, 7))]
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=limit, rtol=0)


@pytest.mark.representatives("7")
@pytest.mark.parametrize("length", [None, 7])
def test_a_served_step_tells_the_next_word_after_an_image_and_the_first_words(
    length: int | None, tmp_path: Path
) -> None:
    model = captioner(first=True, length=length, last=True)
    result = export_saved_model(model, tmp_path / "1", step=True, warmup=False)
    signatures = tf.saved_model.load(str(result.path)).signatures
    inputs = samples(model, 3)
    begun = signatures["initial_state"](
        batch_size=tf.constant(3), image=tf.constant(inputs["image"])
    )
    states = {name: begun[name] for name in result.states}
    for t in range(7):
        results = signatures["step"](words=tf.constant(inputs["words"][:, t]), **states)
        states = {name: results[name] for name in states}
    np.testing.assert_allclose(results["outputs"], called(model, inputs), atol=1e-5)


@pytest.mark.parametrize("build", [lambda: layers.Reshape((8, 5)), layers.Flatten])
def test_a_fixed_length_that_cannot_be_opened_is_one_clear_line(
    build: Callable[[], keras.Layer], tmp_path: Path
) -> None:
    image, words = keras.Input((6,), name="image"), keras.Input((7,), name="words")
    y = layers.Reshape((7, 5))(layers.Dense(35)(words))
    y = layers.Concatenate(axis=1)([layers.Reshape((1, 5))(layers.Dense(5)(image)), y])
    y = layers.LSTM(5, return_sequences=True)(layers.Reshape((8, 5))(y))
    model = keras.Model([image, words], build()(y))
    with pytest.raises(
        ValueError, match=r"^[^\n]* none of its inputs has an entry for each of the 8"
    ):
        export_saved_model(model, tmp_path / "1", step=True, warmup=False)


def test_an_encoder_runs_before_the_step_and_its_results_make_the_first_state(
    tmp_path: Path,
) -> None:
    runner = exported(translator(), tmp_path)
    assert set(runner.inputs) == {"source", "target"}
    assert runner.signatures["project"]["inputs"] == ["target"]
    assert "decoder_h" in runner.signatures["initial_state"]["outputs"]
    assert not any("source" in name for name in runner.signatures["step"]["inputs"])


@pytest.mark.representatives("True")
@pytest.mark.parametrize("first", [False, True])
def test_a_beam_search_in_steps_finds_what_one_with_keras_does(first: bool, tmp_path: Path) -> None:
    model = captioner(first)
    image = np.random.default_rng(2).normal(size=(1, 6)).astype("float32").repeat(BEAMS, axis=0)
    stream = exported(model, tmp_path, batch_size=BEAMS).stream({"image": image})

    def by_steps(texts: np.ndarray) -> np.ndarray:
        return stream(texts[:, -1:])[:, -1]

    def by_keras(texts: np.ndarray) -> np.ndarray:
        return model([image, texts], training=False).numpy()[:, -1]

    found, scores = beam_search(by_steps, stream.select)
    expected, best = beam_search(by_keras, lambda _: None)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(scores, best, atol=1e-4)


def beam_search(predict: Callable, select: Callable) -> tuple[np.ndarray, np.ndarray]:
    texts = np.ones((BEAMS, 1), "int32")
    scores = np.array([0.0, *(BEAMS - 1) * [-np.inf]])
    for _ in range(6):
        totals = scores[:, None] + np.log(predict(texts))
        best = np.argsort(-totals, axis=None, kind="stable")[:BEAMS]
        beams, words = np.unravel_index(best, totals.shape)
        texts = np.column_stack([texts[beams], words]).astype("int32")
        scores = totals[beams, words]
        select(beams)
    return texts, scores


def test_frames_in_several_inputs_stream(tmp_path: Path) -> None:
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 2), name="b")
    y = layers.LSTM(4, return_sequences=True)(layers.Concatenate()([a, b]))
    model = models.scrambled(keras.Model([a, b], y))
    inputs = samples(model, 1)
    stream = exported(model, tmp_path).stream()
    found = [stream({n: v[:, t : t + 1] for n, v in inputs.items()}) for t in range(7)]
    np.testing.assert_allclose(np.concatenate(found, axis=1), called(model, inputs), atol=1e-5)
    with pytest.raises(ValueError, match="must get the same number of frames"):
        stream({"a": inputs["a"], "b": inputs["b"][:, :3]})


def test_wrong_contexts_and_places_are_refused(tmp_path: Path) -> None:
    runner = exported(captioner(), tmp_path, batch_size=BEAMS)
    with pytest.raises(ValueError, match=r"starts from \['image'\]: give them"):
        runner.stream()
    with pytest.raises(ValueError, match=r"takes 3 samples at a time; got \{'image': 1\}"):
        runner.stream(np.zeros((1, 6), "float32"))
    stream = runner.stream(np.zeros((BEAMS, 6), "float32"))
    with pytest.raises(ValueError, match="this stream has 3 samples"):
        stream(np.zeros((1, 1), "int32"))
    for wrong in ([0, 1], [0, 1, 3], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="samples must be 3 integers from 0 to 2"):
            stream.select(wrong)
