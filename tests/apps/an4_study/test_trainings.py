import dataclasses

import pytest

from apps.an4_study import trainings
from apps.an4_study.presets import PRESETS
from apps.an4_study.trainings import train_models, train_streaming
from apps.common.plan import GrowAndPruneRecipe
from apps.common.record import read_record
from tests.apps.an4_study.conftest import TINY

GROWING = GrowAndPruneRecipe(growth_epochs=1, retrain_epochs=1, threshold=2.0, max_iterations=1)


@pytest.fixture
def small(monkeypatch):
    """All of AN4's presets at a size that takes seconds."""
    monkeypatch.setattr(
        trainings, "AN4_EXTRA", {"train": 4, "valid": 1, "test": 1, "speakers": (2, 1, 1)}
    )
    kept = ("bidirectional", "rooms", "spliced", "averaged")
    for name, recipe in [pair for pair in PRESETS.items() if pair[0].startswith("an4")]:
        plan = recipe.grow_and_prune
        if plan is not None:
            growth = min(1, plan.growth_epochs)
            plan = dataclasses.replace(
                GROWING, growth_epochs=growth, step=0.2, max_iterations=plan.max_iterations
            )
        small = dataclasses.replace(
            TINY, epochs=2, **{n: getattr(recipe, n) for n in kept}, grow_and_prune=plan
        )
        monkeypatch.setitem(PRESETS, name, small)


@pytest.mark.training
def test_one_call_leads_from_a_corpus_to_the_trainings(toy_corpus, cache, tmp_path, small):
    last = train_models(toy_corpus, tmp_path, cache)
    assert last.folder == tmp_path / "compact"
    for name in ("aligner", "mixed"):
        phases = [epoch["phase"] for epoch in read_record(tmp_path / name)["epochs"]]
        assert phases == ["growth", "training"]
    for name, iterations in (("tuned", 2), ("thinned", 1)):
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files >= {"grown.keras", f"iteration-{iterations}.keras", "compact.keras"}
        assert len(read_record(tmp_path / name)["start"]) == 64
    # What was pruned stays so.
    for name, pruned in (("accurate", "tuned"), ("compact", "thinned")):
        sizes = [read_record(tmp_path / n)["result"]["connections"] for n in (name, pruned)]
        assert sizes[0] == sizes[1]
    record = read_record(tmp_path / "mixed")
    assert "train 4 utterances" in record["extra"]
    assert len(record["aligner"]) == 64
    assert train_models(toy_corpus, tmp_path, cache) == last


@pytest.mark.training
def test_one_call_leads_to_a_network_that_streams(toy_corpus, cache, tmp_path, small):
    last = train_streaming(toy_corpus, tmp_path, cache)
    assert last.folder == tmp_path / "streaming-tuned"
    records = [read_record(tmp_path / f"streaming-{name}") for name in ("pretrained", "tuned")]
    phases = [[epoch["phase"] for epoch in record["epochs"]] for record in records]
    assert phases == [["growth", "training"], ["training"] * 2 + ["retraining"] * 2]
    assert "train 4 utterances" in records[0]["extra"]
    assert "extra" not in records[1]
    assert not records[1]["recipe"]["bidirectional"]
    assert train_streaming(toy_corpus, tmp_path, cache) == last
