"""Which file is kept where several can be made: a table worked by hand, and real exports."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export import Candidate, WeighedFile, export_tflite
from hlstm_tf.export.attempts import Attempt
from hlstm_tf.export.choice import _chosen
from tests.export import models

TABLE = {  # bytes, and milliseconds in three rounds, the second of which was disturbed
    None: (400, [8.0, 16.0, 8.0]),
    "dynamic": (110, [4.0, 8.0, 4.0]),
    "int8": (120, [4.1, 8.0, 4.1]),
    "sparse": (50, [4.1, 8.2, 4.1]),
    "sparse_float32": (60, [3.3, 9.9, 4.4]),
}


@pytest.mark.parametrize(
    ("for_", "among", "expected"),
    [
        ("size", [None, "dynamic", "int8"], "dynamic"),
        ("size", list(TABLE), "sparse"),
        ("latency", [None, "dynamic"], "dynamic"),
        ("latency", ["dynamic", "sparse"], "sparse"),  # 2.5 % slower counts as equal: the smaller
        ("latency", ["dynamic", "sparse_float32"], "dynamic"),  # 10 % slower does not
    ],
)
def test_the_smallest_or_the_smallest_of_the_fastest_is_kept(
    for_: str, among: list[str | None], expected: str
) -> None:
    attempts = [
        Attempt(name, Path("m"), WeighedFile(TABLE[name][0], 0, ""), 0.0, 1.0) for name in among
    ]
    times = {("sequence", name): TABLE[name][1] for name in among}
    assert _chosen(attempts, times, for_).quantization == expected


def test_all_that_the_model_can_become_is_tried(tmp_path: Path) -> None:
    model = models.dense()
    result = export_tflite(model, tmp_path / "m.tflite", quantization="best", for_="size")
    by_name = {each.quantization: each for each in result.candidates}
    assert list(by_name) == [None, "float16", "dynamic", "sparse", "sparse_float32"]
    made = [each for each in result.candidates if each.left_out is None]
    assert [each.quantization for each in made] == [None, "float16", "dynamic"]
    assert all(each.milliseconds > 0 and each.error <= 0.1 for each in made)
    assert "found no matrix" in by_name["sparse"].left_out
    assert result.bytes == min(each.bytes for each in made) == result.path.stat().st_size
    assert result.bytes == by_name[result.quantization].bytes
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_what_is_off_tolerance_is_left_out(tmp_path: Path) -> None:
    layer = hl.MaskedDense(64)
    model = keras.Sequential([keras.Input((64,)), layer])
    blocks = np.repeat(np.repeat(np.eye(4), 16, axis=0), 16, axis=1)
    layer.set_weights(
        [np.random.default_rng(0).normal(size=(64, 64)) * blocks, np.zeros(64), blocks]
    )
    result = export_tflite(
        model, tmp_path / "m.tflite", quantization="best", for_="size", tolerance=1e-5
    )
    assert result.quantization == "sparse_float32"
    left_out = {each.quantization: each.left_out for each in result.candidates if each.left_out}
    assert list(left_out) == ["float16", "dynamic", "sparse"]
    assert all("is off by" in reason and "no file" not in reason for reason in left_out.values())


def test_no_file_at_all_is_an_error_and_leaves_none(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3, 3)), keras.layers.Lambda(keras.ops.inv)])
    with pytest.raises(ValueError, match="have no builtin form"):
        export_tflite(
            model, tmp_path / "m.tflite", quantization="best", verify_with=np.eye(3)[None] + 0.1
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("build", "forms"), [(models.tagger, 2), (models.dense, 1)])
def test_both_forms_are_measured_where_the_model_has_both(
    build: Callable[[], keras.Model], forms: int, tmp_path: Path
) -> None:
    model = build()
    result = export_tflite(model, tmp_path / "m.tflite", form="best", quantization="dynamic")
    assert [each.form for each in result.candidates] == ["sequence", "step"]
    made = [each for each in result.candidates if each.left_out is None]
    assert len(made) == forms
    assert all(each.milliseconds > 0 for each in made)
    assert {each.quantization for each in made} == {"dynamic"}
    assert result.form in {each.form for each in made}
    opened = hl.load_tflite(result.path)
    assert isinstance(opened, hl.StepRunner) == (result.form == "step")
    assert set(opened.signatures) == set(result.signatures)
    if forms == 1:
        assert "has no step form" in str(result.candidates[1])


def test_the_fewest_bytes_of_all_forms_and_quantizations(tmp_path: Path) -> None:
    result = export_tflite(
        models.tagger(),
        tmp_path / "m.tflite",
        form="best",
        quantization="best",
        for_="size",
    )
    made = [each for each in result.candidates if each.left_out is None]
    assert {each.form for each in made} == {"sequence", "step"}
    assert result.bytes == min(each.bytes for each in made) == result.path.stat().st_size


def test_a_candidate_is_a_line() -> None:
    made = Candidate("dynamic", bytes=1234, error=0.0123, milliseconds=0.5)
    assert str(made) == "dynamic: 1,234 bytes, 0.5 ms, error 0.012 of the range"
    assert str(Candidate(None, left_out="no room")) == "float32: left out, no room"
    assert str(Candidate(None, left_out="none", form="step")) == (
        "float32 in step form: left out, none"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"quantization": "best", "for_": "speed"},
            "for_ must be 'latency' or 'size'; got 'speed'",
        ),
        ({"quantization": None, "for_": "size"}, "for_='size' says what quantization='best'"),
    ],
)
def test_what_best_is_for_is_checked(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_tflite(models.dense(), tmp_path / "m.tflite", **arguments)
