import numpy as np

from jaxpriv.attacks import scene as scene_lib
from jaxpriv.attacks import training
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.training.mechanism import Target
from tests import tiny


def test_features_of_an_attacker_fit_into_float16_whatever_they_are():
  fitted = scene_lib.fitted(np.array([1.5, np.nan, np.inf, -1e9]))
  assert fitted.dtype == np.float16 and np.isfinite(fitted).all()
  np.testing.assert_array_equal(fitted, [1.5, 0, 65504, -65504])


def test_what_an_attacker_failed_at_is_grey_and_logged(caplog):
  images = np.zeros((3, 2, 2, 3), np.float32)
  images[1, 0, 0, 0] = np.nan
  grey = scene_lib.finite(images, "R3")
  np.testing.assert_array_equal(grey[[0, 2]], images[[0, 2]])
  np.testing.assert_array_equal(grey[1], 0.5)
  assert "R3: 1 of 3 reconstructions are not finite" in caplog.text


def scene(kept=("Male",), predictor=True):
  """Six photographs of three people; the predictor says 1 of what is white."""
  rng = np.random.default_rng(0)
  labels = np.array([[1, 0], [1, 1], [0, 1], [0, 1], [0, 0], [0, 0]])
  photographs = InMemory(
    {
      "image": rng.integers(0, 256, (6, 16, 16, 3), np.uint8),
      "identity": np.array([0, 0, 1, 1, 2, 2]),
      "attributes": labels if predictor else labels[:, :0],
    },
    ("Male", "Smiling") if predictor else (),
  )
  flat = lambda shown: (
    shown.arrays["image"].reshape(len(shown), -1).astype(np.float32)
  )
  white = lambda shown: flat(shown).mean(1, keepdims=True) > 250
  say = lambda shown: np.repeat(white(shown), 2, 1)
  people = People(tiny.deep_poisoning(), "", None, photographs, photographs)
  people.once("recogniser", lambda: (Reader("recogniser", flat), None))
  people.once(("predictor", "vgg"), lambda: Reader("predictor", say))
  people.once(("read", "predictor"), lambda: labels)  # it reads photographs
  people.once("clean images", lambda: people.test.arrays["image"] / 255)
  target = Target("module", people.config, None, ("features",), kept=kept)
  return scene_lib.Scene(target, people)


WHITE = np.ones((6, 16, 16, 3), np.float32)


def by_metric(findings):
  return {finding.metric: finding for finding in findings}


def test_hidden_attributes_are_read_in_what_was_rebuilt():
  rows = by_metric(scene().rebuilt("A5 unpaired", WHITE, "nothing"))
  read, right = rows["balanced accuracy"], rows["accuracy"]
  assert (read.wanted, read.where["what"]) == ("hidden", "hidden")
  assert (right.hits, right.total, right.wanted) == (3, 6, "told")
  assert right.floor == 0.5
  assert read.value == read.floor == 0.5  # all are said to smile
  both = scene(kept=("Male", "Smiling")).rebuilt("A5", WHITE, "nothing")
  read = by_metric(both)["balanced accuracy"]
  assert (read.wanted, read.where["what"]) == ("told", "kept")
  right = by_metric(both)["accuracy"]
  assert (right.hits, right.total) == (5, 12)
  # The task is who it is.
  rows = by_metric(scene(kept=()).rebuilt("A5", WHITE, "nothing"))
  assert rows["balanced accuracy"].wanted == "hidden"
  assert (rows["accuracy"].hits, rows["accuracy"].total) == (5, 12)
  blind = scene(predictor=False).rebuilt("A5", WHITE, "nothing")
  assert "balanced accuracy" not in by_metric(blind)


def test_an_attack_stands_between_the_mean_image_and_the_clean_inverter():
  found = by_metric(
    scene().rebuilt("A1 least squares", WHITE, "pairs", pairs=4)
  )
  ssim = found["SSIM"]
  assert ssim.claim == "appearance" and ssim.wanted == "hidden"
  assert ssim.ceiling.value > 0.99 > ssim.floor
  assert dict(ssim.where) == {"knows": "pairs", "pairs": 4}
  assert found["aligned SSIM"].wanted == "hidden"
  assert {found[m].wanted for m in ("|SSIM|", "L1", "PSNR")} == {"told"}
  rank = found["rank-1"]
  assert (rank.claim, rank.total) == ("identity", 3)
  assert rank.floor == 1 / 3


def test_bounds_are_told_of_nobody():
  bounds = scene()
  for name, figures in bounds.bounds().items():
    for finding in bounds.findings(name, figures, knows="x"):
      assert (finding.subject, finding.wanted) == ("none", "told")


def test_some_photographs_are_judged_by_themselves():
  rows = np.arange(4)
  few = by_metric(
    scene().rebuilt("A6 leaked module", WHITE[:4], "the module", rows)
  )
  assert (few["SSIM"].total, few["rank-1"].floor) == (4, 0.5)
  assert (few["accuracy"].hits, few["accuracy"].total) == (3, 4)


def test_people_keep_their_numbers_where_these_are_the_task(monkeypatch):
  """A module is trained through a decider, which knows people by number."""
  seen = []
  monkeypatch.setattr(
    training, "train", lambda phase, shown, *a, **k: seen.append(shown)
  )
  monkeypatch.setattr(training, "digest", lambda *a: "")
  photographs = InMemory(
    {"image": np.zeros((3, 2, 2, 3)), "identity": np.array([7, 3, 7])}, ()
  )
  people = People(tiny.deep_poisoning(), "", None, photographs, photographs)
  people.train(None, photographs, None, None)
  people.train(None, photographs, None, None, renumber=False)
  np.testing.assert_array_equal(seen[0].identities, [1, 0, 1])
  np.testing.assert_array_equal(seen[1].identities, [7, 3, 7])
