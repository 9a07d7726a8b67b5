"""The state on disk is whole at every moment."""

import errno
import json
import resource
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hlstm_tf.training_run.run_directory import RunDirectory, as_dtype
from hlstm_tf.training_run.snapshot import Snapshot


def snapshot(name: str, value: float = 1.0, size: int = 4) -> Snapshot:
    return Snapshot(name, (np.full(size, value, "float32"), np.array([True, False])))


def saved(path: Path, **facts) -> RunDirectory:
    run = RunDirectory(path)
    run.save({"epoch": 1, **facts}, {"current": snapshot("1")})
    return run


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "deep" / "run")
    values = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    arrays = (values, np.array(7, "int64"), np.array([True, False]), np.zeros((0, 2), "float32"))
    run.save({"value": 0.1 + 0.2}, {"current": Snapshot("a", arrays), "best": snapshot("b", 2)})
    facts, snapshots = run.load()
    assert facts == {"value": 0.1 + 0.2}
    assert set(snapshots) == {"current", "best"}
    for found, expected in zip(snapshots["current"].arrays, arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_bfloat16_survives(tmp_path: Path) -> None:
    values = np.array([1.5, -2.25], ml_dtypes.bfloat16)
    run = RunDirectory(tmp_path)
    run.save({}, {"current": Snapshot("a", (values,))})
    [found] = run.load()[1]["current"].arrays
    np.testing.assert_array_equal(as_dtype(found, "bfloat16"), values)


def test_roles_that_share_a_snapshot_share_a_file(tmp_path: Path) -> None:
    run, shared = RunDirectory(tmp_path), snapshot("1")
    run.save({}, {"current": shared, "best": shared, "complete": snapshot("0")})
    assert len(list(tmp_path.glob("*.npz"))) == 2
    snapshots = run.load()[1]
    assert snapshots["current"] is snapshots["best"]


def test_snapshots_that_no_role_names_are_removed(tmp_path: Path) -> None:
    run = saved(tmp_path)
    run.save({}, {"current": snapshot("2")})
    assert [file.name for file in tmp_path.glob("*.npz")] == ["snapshot-2.npz"]


def test_leftovers_of_a_kill_are_cleared_and_do_not_disturb(tmp_path: Path) -> None:
    run = saved(tmp_path)
    (tmp_path / "state.json.partial").write_text('{"form')
    (tmp_path / "snapshot-2.npz.partial").write_bytes(b"PK half")
    (tmp_path / "snapshot-2.npz").write_bytes(b"whole, but its epoch did not come to count")
    assert run.load()[0]["epoch"] == 1
    run.clear_leftovers(keep=["1"])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["snapshot-1.npz", "state.json"]


@pytest.fixture
def small_files():
    """The operating system refuses files of more than 4 KB, as a full disk refuses any."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_refuses_a_snapshot_leaves_the_earlier_state_intact(tmp_path: Path) -> None:
    run = saved(tmp_path)
    with pytest.raises(OSError, match="what was saved before is intact") as error:
        run.save({"epoch": 2}, {"current": snapshot("2", size=10_000)})
    assert error.value.errno == errno.EFBIG
    assert "snapshot-2" in str(error.value)
    facts, snapshots = run.load()
    assert facts["epoch"] == 1
    np.testing.assert_array_equal(snapshots["current"].arrays[0], np.ones(4))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_refuses_the_manifest_leaves_the_earlier_state_intact(tmp_path: Path) -> None:
    run = saved(tmp_path)
    with pytest.raises(OSError, match=r"state\.json"):
        run.save({"epoch": 2, "long": "x" * 5000}, {"current": snapshot("2")})
    assert run.load()[0]["epoch"] == 1


def test_a_full_device_is_named(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    run = saved(tmp_path)
    # What is written beside goes to a device that is always full.
    (tmp_path / "snapshot-2.npz.partial").symlink_to(full)
    with pytest.raises(OSError, match="No space left on device") as error:
        run.save({"epoch": 2}, {"current": snapshot("2")})
    assert error.value.errno == errno.ENOSPC
    assert run.load()[0]["epoch"] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "state.json").write_text("not json"),
        lambda path: (path / "state.json").write_text("[1, 2]"),
        lambda path: (path / "state.json").write_text(json.dumps({"format": 1})),
        lambda path: (path / "snapshot-1.npz").unlink(),
        lambda path: (path / "snapshot-1.npz").write_bytes(b""),
        lambda path: (path / "snapshot-1.npz").write_bytes(
            (path / "snapshot-1.npz").read_bytes()[:200]
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage) -> None:
    run = saved(tmp_path)
    damage(tmp_path)
    with pytest.raises(OSError, match=r"state\.json|snapshot-1\.npz"):
        run.load()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    run = saved(tmp_path)
    file = tmp_path / "snapshot-1.npz"
    data = bytearray(file.read_bytes())
    place = data.find(np.ones(1, "float32").tobytes())
    data[place] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(OSError, match="snapshot-1"):
        run.load()


def test_a_format_of_another_version_is_refused(tmp_path: Path) -> None:
    run = saved(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(OSError, match="format 99"):
        run.load()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory: cannot make it"):
        saved(tmp_path / "file" / "run")
