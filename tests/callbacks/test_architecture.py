"""The rules reach every gate of every kind of layer, and dormant weights stay zero."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.pruning.architecture import Rule, count_connections, grow_model, prune_model
from hlstm_tf.pruning.dead_neurons import without_dead_neurons
from hlstm_tf.scoring.score_source import ScoreSource
from hlstm_tf.sparsity import prune, prune_all_to
from tests.tiers import few

RNG = np.random.default_rng(0)


def model_of(*layers: keras.Layer, shape: tuple[int, ...]) -> keras.Model:
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("adam", "mse", run_eagerly=True)
    return model


def matrices(model: keras.Model, what: str) -> list[np.ndarray]:
    kernels = hl.masked_kernels(model)
    return [m for k in kernels for m in k.to_matrices(getattr(k, what))]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: hl.HLSTM(4, hidden_units=(5, 3)), (3, 2)),
        (lambda: hl.MaskedLSTM(4), (3, 2)),
        (lambda: hl.MaskedGRU(4), (3, 2)),
        (lambda: hl.MaskedSimpleRNN(4), (3, 2)),
        (lambda: hl.MaskedConv2D(4, 3), (8, 8, 2)),
        (lambda: keras.layers.Bidirectional(hl.MaskedLSTM(3)), (3, 2)),
    ],
)
def test_each_gate_of_each_kernel_is_pruned_by_its_own_percentile(layer, shape) -> None:
    model = model_of(layer(), shape=shape)
    weights = matrices(model, "variable")
    pruned = iter([prune(np.ones(w.shape, bool), np.abs(w), 0.3) for w in weights])
    expected = {
        k: k.from_matrices(np.stack([next(pruned) for _ in range(k.gates)]))
        for k in hl.masked_kernels(model)
    }
    expected |= without_dead_neurons(expected)  # hidden neurons of gates that died of it
    removed = prune_model(
        ScoreSource(model), Rule.of("magnitude", "connection", "per_matrix"), "here", ratio=0.3
    )
    assert removed == sum(int((~mask).sum()) for mask in matrices(model, "mask"))
    for kernel, mask in expected.items():
        np.testing.assert_array_equal(kernel.mask.numpy(), mask)


def test_erk_counts_a_convolution_by_its_whole_shape() -> None:
    model = model_of(
        hl.MaskedConv2D(8, 3), keras.layers.Flatten(), hl.MaskedDense(10), shape=(8, 8, 4)
    )
    weights = [np.abs(w) for w in matrices(model, "variable")]
    rule = Rule.of("magnitude", "connection", "erk")
    prune_model(ScoreSource(model), rule, "here", sparsity=0.9)
    expected = prune_all_to(
        [np.ones(w.shape, bool) for w in weights],
        weights,
        0.9,
        distribution=rule.distribution,
        kernel_shapes=[(3, 3, 4, 8), (288, 10)],
    )
    for mask, wanted in zip(matrices(model, "mask"), expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)


@few(6)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["grow", "prune", "train"]),
            st.floats(0, 1),
            st.sampled_from(["connection", "1x2", "column", "row", "2:4"]),
            st.sampled_from(["per_matrix", "global", "erk"]),
        ),
        max_size=6,
    ),
    optimizer=st.sampled_from(["sgd", "adamw", "ema"]),
)
def test_growth_only_adds_pruning_only_removes_and_dormant_weights_are_zero(
    steps: list, optimizer: str
) -> None:
    optimizers = {
        "sgd": keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1.0),
        "adamw": keras.optimizers.AdamW(0.1, weight_decay=0.1),
        "ema": keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=1),
    }
    model = keras.Sequential([keras.Input((6,)), hl.MaskedDense(4), hl.MaskedDense(3)])
    model.compile(optimizers[optimizer], "mse", run_eagerly=True)
    for kernel in hl.masked_kernels(model):
        hl.edit_masks({kernel: RNG.random(kernel.mask.shape) < 0.5})
    x, y = RNG.normal(size=(4, 6)).astype("float32"), RNG.normal(size=(4, 3)).astype("float32")
    source = ScoreSource(model, (x, y))
    for event, (step, ratio, structure, distribution) in enumerate(steps):
        before = matrices(model, "mask")
        if step == "train":
            model.train_on_batch(x, y)
        elif step == "grow":
            rule = Rule.of("gradient", structure, distribution)
            grown = grow_model(source, rule, ratio, event, "here")
            after = matrices(model, "mask")
            assert all((a >= b).all() for a, b in zip(after, before, strict=True))
            added = [int(a.sum()) - int(b.sum()) for a, b in zip(after, before, strict=True)]
            assert grown == sum(added)
        else:
            rule = Rule.of("magnitude", structure, distribution)
            prune_model(source, rule, "here", event, ratio=ratio)
            after = matrices(model, "mask")
            assert all((a <= b).all() for a, b in zip(after, before, strict=True))
        for mask, weight in zip(matrices(model, "mask"), matrices(model, "variable"), strict=True):
            assert (weight[~mask] == 0).all()
    existing, places = count_connections(hl.masked_kernels(model))
    assert existing == sum(int(m.sum()) for m in matrices(model, "mask"))
    assert places == 6 * 4 + 4 * 3
