"""Scores of faces by hand, by NumPy and by JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.metrics import faces


def labels(rng, count=12):
  points = rng.normal(size=(count, 5, 2))
  seen = rng.integers(0, 2, (count, 5))
  pose = rng.normal(size=(count, 3))
  known = rng.random((count, 5)) < 0.7
  known[0] = False
  points[~known] = np.nan
  posed = np.repeat(rng.random((count, 1)) < 0.7, 3, 1)
  posed[0] = False
  gender = rng.integers(0, 2, count)
  return {
    "landmarks": (points, known),
    "visibility": (seen, known),
    "pose": (pose, posed),
    "gender": (gender, np.arange(count) > 0),
  }


def test_scores_are_those_worked_out_by_hand():
  label = np.zeros((2, 3, 2))
  points = np.array([[[3, 4], [0, 1], [9, 9]]] * 2, float)
  known = np.array([[True, True, False], [False] * 3])
  error = faces.landmark_error(points, label, known)
  np.testing.assert_allclose(error, [3, np.nan])
  seen = np.array([[0.9, 0.2, 0.9]] * 2)
  right = faces.visibility_accuracy(seen, np.ones((2, 3)), known)
  np.testing.assert_allclose(right, [0.5, np.nan])
  pose = np.deg2rad([[15.5, 1, 1], [14.5, 0, 0]])
  args = (pose, np.zeros((2, 3)), np.ones((2, 3), bool))
  np.testing.assert_allclose(faces.pose_error(*args), [17.5 / 3, 14.5 / 3])
  np.testing.assert_array_equal(faces.yaw_within(*args), [0, 1])
  classes = faces.class_accuracy(
    np.array([1, 0]), np.array([1, 1]), np.array([True, False])
  )
  np.testing.assert_array_equal(classes, [1, np.nan])


def test_jax_and_numpy_say_the_same():
  rng = np.random.default_rng(0)
  known = labels(rng)
  read = {name: label for name, (label, _) in labels(rng).items()}
  read["landmarks"] = np.nan_to_num(read["landmarks"])
  expected = faces.score(read, known)
  assert list(expected) == [
    "landmark_error", "visibility_accuracy", "pose_error", "yaw_within_15",
    "gender_accuracy",
  ]  # fmt: skip
  found = jax.jit(faces.score)(*jax.tree.map(jnp.asarray, (read, known)))
  for name, value in expected.items():
    assert value.shape == (12,) and np.isnan(value[0]), name
    np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_no_other_constant_is_better():
  rng = np.random.default_rng(1)
  known = labels(rng)
  best = faces.constant(known)
  score = lambda answer: {
    name: np.nanmean(value)
    for name, value in faces.score(answer, known).items()
  }
  means = score(best)
  for _ in range(20):
    moved = score({
      "landmarks": best["landmarks"] + 0.5 * rng.normal(size=(1, 5, 2)),
      "visibility": rng.random((1, 5)).round(),
      "pose": best["pose"] + 0.3 * rng.normal(size=(1, 3)),
      "gender": rng.integers(0, 2, 1),
    })  # fmt: skip
    assert moved["landmark_error"] > means["landmark_error"]
    assert moved["pose_error"] >= means["pose_error"]
    assert moved["gender_accuracy"] <= means["gender_accuracy"]


@pytest.mark.filterwarnings("error")
def test_where_nothing_is_known_nothing_is_said():
  none = {
    name: (label, np.zeros_like(known))
    for name, (label, known) in labels(np.random.default_rng(2)).items()
  }
  for name, value in faces.score(faces.constant(none), none).items():
    assert np.isnan(value).all(), name


def test_no_one_answer_is_within_15_degrees_more_often():
  rng = np.random.default_rng(0)
  pose = np.radians(rng.uniform(-90, 90, (200, 3)))
  pose[:90, 0] = np.radians(rng.uniform(40, 60, 90))  # not about the median
  known = rng.random((200, 3)) < 0.9
  answers = np.radians(np.linspace(-90, 90, 7201))
  yaw = pose[known[:, 0], 0]
  each = [(np.abs(yaw - a) <= np.radians(15)).mean() for a in answers]
  assert faces.most_within(pose, known) == pytest.approx(max(each), abs=1e-9)
