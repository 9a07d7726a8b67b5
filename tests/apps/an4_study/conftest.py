"""The tiny recipe of the tests, as one of the study."""

from apps.an4_study.recipe import StudyRecipe
from tests.apps.conftest import TINY as SPEECH

TINY = StudyRecipe.of(SPEECH)
