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


def _scene(kept=("Male",), predictor=True):
  """Six photographs of three people; the predictor says 1 of what is white."""
  rng = np.random.default_rng(0)
  labels = np.array([[1, 0], [1, 1], [0, 1], [0, 1], [0, 0], [0, 0]])
  people = Photographs(
    {
      "image": rng.integers(0, 256, (6, 16, 16, 3), np.uint8),
      "identity": np.array([0, 0, 1, 1, 2, 2]),
      "attributes": labels,
    },
    ("Male", "Smiling"),
  )
  flat = lambda shown: (
    shown.arrays["image"].reshape(len(shown), -1).astype(np.float32)
  )
  say = lambda shown: np.repeat(flat(shown).mean(1, keepdims=True) > 250, 2, 1)
  readers = scene.Readers(
    evaluation.Witness("recogniser", flat, False),
    flat(people),
    evaluation.Witness("predictor", say, False) if predictor else None,
    labels if predictor else None,
  )
  target = scene.Target("module", [], {}, kept, lambda shown: {})
  return scene.Scene(None, target, people, people, None, readers)


def test_hidden_attributes_are_read_in_what_was_rebuilt():
  white = np.ones((6, 16, 16, 3), np.float32)
  read = _scene().row("A5 unpaired", white)["attributes"]
  assert read["what"] == "hidden"
  assert (read["hits"], read["total"]) == (3, 6)
  assert (read["majority"], read["undisguised"]) == (0.5, 1)
  assert read["balanced"] == 0.5  # all are said to smile
  read = _scene(kept=("Male", "Smiling")).row("A5", white)["attributes"]
  assert (read["what"], read["hits"], read["total"]) == ("kept", 5, 12)
  read = _scene(kept=()).row("A5", white)["attributes"]  # the task is who it is
  assert (read["what"], read["hits"], read["total"]) == ("hidden", 5, 12)
  assert _scene(predictor=False).row("A5", white)["attributes"] is None


def test_a_part_of_a_scene_is_judged_by_itself():
  white = np.ones((4, 16, 16, 3), np.float32)
  row = _scene().part(slice(0, 4)).row("A6 leaked module", white)
  assert (row["total"], row["chance"]) == (4, 0.5)
  read = row["attributes"]
  assert (read["hits"], read["total"], read["majority"]) == (3, 4, 0.75)


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
