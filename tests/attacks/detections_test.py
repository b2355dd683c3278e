"""Average precision of a detector on scenes, by hand and by its findings."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.attacks import detections
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import finding, wider
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Method, Outputs, Phase
from tests import tiny


def test_rows_are_sorted_and_without_what_is_no_face():
  found = {
    "boxes": np.array([[[1.0, 2, 5, 9], [0, 0, 0, 0], [3, 3, 4, 4]]]),
    "scores": np.array([[0.2, 0.0, 0.7]]),
  }
  (rows,) = detections.rows_of(found)
  np.testing.assert_allclose(rows, [[3, 3, 1, 1, 0.7], [1, 2, 4, 7, 0.2]])


def test_faces_are_wanted_by_their_height():
  boxes = np.array([[0.0, 0, 40, 11], [5, 5, 9, 17], [1, 1, 2, 30]])
  ((given, kept),) = detections.wanted([boxes], 12)
  np.testing.assert_array_equal(kept, [1, 2])
  np.testing.assert_array_equal(given[1], [5, 5, 4, 12])


def scenes(count=12):
  """Two faces a scene, 20 and 10 px high, in places of their own."""
  boxes = np.zeros((count, 3, 4), np.float32)
  for i in range(count):
    boxes[i, 0] = [4 * i, 0, 4 * i + 20, 20]
    boxes[i, 1] = [4 * i, 40, 4 * i + 10, 50]
  valid = np.tile([True, True, False], (count, 1))
  return boxes, valid


class Setup:
  """A detector that answers what is written for each scene."""

  def __init__(self, found, scores, boxes, valid):
    def detect(state, frozen, batch):
      rows = batch["image"][:, 0, 0, 0].astype(jnp.int32)
      return {"boxes": state["boxes"][rows], "scores": state["scores"][rows]}

    method = Method(None, None, Outputs(detect=detect))
    phase = Phase("d", (), method)
    state = {"boxes": jnp.array(found), "scores": jnp.array(scores)}
    self.target = Target("m", None, Trained((phase,), {"d": state}), ("model",))
    arrays = tiny.batch(len(boxes), side=8)
    image = np.zeros((len(boxes), 8, 8, 3), np.float32)
    image[:, 0, 0, 0] = np.arange(len(boxes))
    arrays |= {"image": image, "boxes": boxes, "valid": valid}
    del arrays["index"], arrays["padding"]
    self.people = types.SimpleNamespace(
      test=InMemory(arrays), mesh=mesh_lib.make_mesh()
    )

  def findings(self, **options):
    yielded = detections.attack(self.target, self.people, **options)
    return {f.where["faces"]: f for f in yielded}


def test_a_perfect_detector_keeps_all_and_a_blind_one_nothing():
  boxes, valid = scenes()
  scores = np.where(valid, 0.9, 0).astype(np.float32)
  got = Setup(boxes, scores, boxes, valid).findings()
  assert list(got) == ["easy", "medium", "hard"]
  for one in got.values():
    assert (one.value, one.low, one.high) == (1, 1, 1)
    assert (one.claim, one.metric, one.wanted) == ("detection", "AP", "kept")
    assert one.subject == "m" and one.total == 12
    assert finding.problems(one) is None
    assert finding.judge(one).level == finding.GOOD
    # Boxes of the next scene lie 4 px apart: of 20 px they still overlap.
    assert one.floor < 1
  assert [one.where["number"] for one in got.values()] == [12, 12, 24]
  still = np.roll(boxes, 6, 0)  # those of another scene, far away
  blind = Setup(still, scores, boxes, valid).findings(hard=15)["hard"]
  assert blind.value == 0 and finding.judge(blind).level == finding.BAD


def test_values_are_those_of_the_protocol():
  boxes, valid = scenes()
  rng = np.random.default_rng(0)
  found = boxes + rng.normal(0, 2.5, boxes.shape).astype(np.float32)
  scores = np.where(valid, rng.uniform(0.1, 1, valid.shape), 0)
  setup = Setup(found, scores.astype(np.float32), boxes, valid)
  got = setup.findings(easy=15, medium=15, hard=8)
  rows, truth = [], []
  for i in range(12):
    order = np.argsort(-scores[i, :2])
    low, high = found[i, order, :2], found[i, order, 2:]
    rows.append(np.c_[low, high - low, scores[i, order].astype(np.float32)])
    truth.append((np.c_[boxes[i, :2, :2], [[20, 20], [10, 10]]], [0, 1]))
  expected = wider.wider_average_precision(rows, truth)
  assert 0.3 < expected < 0.95
  assert got["hard"].value == pytest.approx(expected, abs=1e-6)
  assert got["hard"].low < expected < got["hard"].high
  large = wider.wider_average_precision(rows, [(b, [0]) for b, _ in truth])
  assert got["easy"].value == pytest.approx(large, abs=1e-6)
  others = wider.wider_average_precision(rows[1:] + rows[:1], truth)
  assert got["hard"].floor == pytest.approx(others, abs=1e-6)
  few = setup.findings(images=5, hard=8)["hard"]
  first = wider.wider_average_precision(rows[:5], truth[:5])
  assert few.total == 5 and few.value == pytest.approx(first, abs=1e-6)


def test_nothing_is_measured_where_there_is_nothing():
  boxes, valid = scenes(4)
  setup = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  assert not setup.findings(images=0)
  assert list(setup.findings(easy=100, medium=100)) == ["hard"]
  del setup.people.test.arrays["boxes"]
  assert not setup.findings()
  blind = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  (phase,) = blind.target.trained.phases
  method = phase.method._replace(outputs=Outputs())
  trained = Trained((phase._replace(method=method),), {"d": {}})
  blind.target = blind.target._replace(trained=trained)
  assert not blind.findings()


def test_draws_without_a_face_do_not_fail():
  boxes, valid = scenes(2)
  valid[1] = False
  setup = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  one = setup.findings()["hard"]
  assert 0 <= one.low <= one.value <= one.high <= 1
