import dataclasses

import pytest

from apps.common.record import read_record
from apps.speech import an4_models
from apps.speech.an4_models import train_models
from apps.speech.presets import PRESETS
from apps.speech.recipe import GrowAndPruneRecipe
from apps.speech.recognizer import load_keras
from tests.apps.speech.conftest import TINY

PRETRAINED = GrowAndPruneRecipe(growth_epochs=1, max_iterations=0)
TUNED = GrowAndPruneRecipe(
    growth_epochs=0, step=0.2, retrain_epochs=1, threshold=2.0, max_iterations=2
)


@pytest.mark.training
@pytest.mark.parametrize("streaming", [False, True])
def test_one_call_leads_from_a_corpus_to_the_trainings(
    toy_corpus, cache, tmp_path, monkeypatch, streaming
):
    prefix = "streaming-" if streaming else ""
    for name, plan in (("pretrained", PRETRAINED), ("tuned", TUNED)):
        name = f"an4-{prefix}{name}"
        own = {n: getattr(PRESETS[name], n) for n in ("bidirectional", "rooms")}
        tiny = dataclasses.replace(TINY, **own, grow_and_prune=plan)
        monkeypatch.setitem(PRESETS, name, tiny)
    sizes = {"train": 4, "valid": 1, "test": 1, "speakers": (2, 1, 1)}
    monkeypatch.setattr(an4_models, "AN4_EXTRA", sizes)
    second = train_models(toy_corpus, tmp_path, cache, streaming)
    assert second.folder == tmp_path / f"{prefix}tuned"
    names = {path.name for path in second.folder.iterdir()}
    assert names >= {"grown.keras", "iteration-1.keras", "iteration-2.keras", "compact.keras"}
    assert load_keras(second.model).input["features"].shape[-1] == 8
    records = [read_record(tmp_path / f"{prefix}{name}") for name in ("pretrained", "tuned")]
    phases = [[epoch["phase"] for epoch in record["epochs"]] for record in records]
    assert phases == [["growth", "training"], ["training"] * 2 + ["retraining"] * 2]
    assert "train 4 utterances" in records[0]["extra"]
    assert "extra" not in records[1]
    assert len(records[1]["start"]) == 64
    assert train_models(toy_corpus, tmp_path, cache, streaming) == second
