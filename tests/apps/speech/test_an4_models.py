import dataclasses

import pytest

from apps.common.record import read_record
from apps.speech import an4_models
from apps.speech.an4_models import train_models
from apps.speech.presets import PRESETS
from apps.speech.recipe import GrowAndPruneRecipe
from tests.apps.speech.conftest import TINY

PLAN = GrowAndPruneRecipe(growth_epochs=1, retrain_epochs=1, threshold=2.0, max_iterations=1)


@pytest.mark.training
def test_one_call_leads_from_a_corpus_to_the_trainings(toy_corpus, cache, tmp_path, monkeypatch):
    tiny = dataclasses.replace(TINY, grow_and_prune=PLAN)
    monkeypatch.setitem(PRESETS, "an4", tiny)
    monkeypatch.setitem(PRESETS, "an4-mixed", dataclasses.replace(tiny, spliced=1))
    for name, iterations in (("an4-tuned", 2), ("an4-thinned", 1)):
        pruned = dataclasses.replace(PLAN, growth_epochs=0, step=0.2, max_iterations=iterations)
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(tiny, grow_and_prune=pruned))
    sizes = {"train": 4, "valid": 1, "test": 1, "speakers": (2, 1, 1)}
    monkeypatch.setattr(an4_models, "AN4_EXTRA", sizes)
    first = train_models(toy_corpus, tmp_path, cache)
    names = {path.name for path in first.folder.iterdir()}
    assert names >= {"grown.keras", "iteration-1.keras", "compact.keras"}
    assert len(read_record(first.folder)["start"]) == 64
    for name in ("aligner", "mixed"):
        phases = [epoch["phase"] for epoch in read_record(tmp_path / name)["epochs"]]
        assert phases == ["growth", "training"]
    record = read_record(tmp_path / "mixed")
    assert "train 4 utterances" in record["extra"]
    assert len(record["aligner"]) == 64
    assert train_models(toy_corpus, tmp_path, cache) == first
