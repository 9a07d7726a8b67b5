import numpy as np

from apps.speech.alphabet import Alphabet
from apps.speech.features import extract_all
from apps.speech.material import prepare
from tests.apps.conftest import TINY


def test_copies_come_at_each_speed_then_from_each_room_at_the_speeds_in_turn(toy_corpus, cache):
    speeds = (0.9, 1.0)
    made = prepare(
        toy_corpus, "train", TINY.front_end, Alphabet(), cache, speeds=speeds, rooms=3, quiet=True
    )
    count = len(toy_corpus.train)
    assert len(made.features) == len(made.labels) == len(made.utterances) == 5 * count
    for number, (speed, room) in enumerate([(0.9, 0), (1.0, 0), (0.9, 1), (1.0, 2), (0.9, 3)]):
        wanted = extract_all(
            toy_corpus.train, TINY.front_end, cache, speed_factor=speed, room=room, quiet=True
        )
        for k in range(count):
            place = number * count + k
            np.testing.assert_array_equal(made.features[place], wanted[k])
            np.testing.assert_array_equal(made.labels[place], made.labels[k])
