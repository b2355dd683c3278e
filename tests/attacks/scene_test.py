import types

import numpy as np

from jaxpriv.attacks import evaluation, learning, scene
from jaxpriv.attacks.learning import Photographs


def test_features_of_an_attacker_fit_into_float16_whatever_they_are():
  made = scene.fitted(np.array([1.5, np.nan, np.inf, -1e9], np.float32))
  assert made.dtype == np.float16 and np.isfinite(made).all()
  np.testing.assert_array_equal(made, [1.5, 0, 65504, -65504])


def test_what_an_attacker_failed_at_is_grey_and_said_to_be(caplog):
  images = np.zeros((3, 2, 2, 3), np.float32)
  images[1, 0, 0, 0] = np.nan
  made = scene.finite(images, "R3")
  np.testing.assert_array_equal(made[[0, 2]], images[[0, 2]])
  np.testing.assert_array_equal(made[1], 0.5)
  assert "R3: 1 of 3 reconstructions are not finite" in caplog.text


def test_people_keep_their_numbers_where_these_are_the_task(monkeypatch):
  """A module is trained through a decider, which knows people by number."""
  seen = []
  monkeypatch.setattr(
    learning, "train", lambda phase, shown, *a, **k: seen.append(shown)
  )
  monkeypatch.setattr(learning, "digest", lambda *a: "")
  people = Photographs(
    {"image": np.zeros((3, 2, 2, 3)), "identity": np.array([7, 3, 7])}, ()
  )
  setting = evaluation.Setting(
    types.SimpleNamespace(seed=0), "", None, people, people
  )
  setting.train(None, people, None, None)
  setting.train(None, people, None, None, renumber=False)
  np.testing.assert_array_equal(seen[0].identities, [1, 0, 1])
  np.testing.assert_array_equal(seen[1].identities, [7, 3, 7])
