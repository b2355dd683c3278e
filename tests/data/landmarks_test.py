"""Landmark markups, and pose against rotations by SciPy."""

import numpy as np
import pytest
from scipy.spatial import transform

from jaxpriv.data import landmarks
from jaxpriv.data.records import LANDMARKS


def _turned(yaw, pitch, roll):
  """68 points of the generic head, seen from far away."""
  # Axes are x right, y down, z away from the camera: a positive turn about y
  # moves the nose, which points at the camera, to the left of the image.
  turn = transform.Rotation.from_euler("ZXY", [roll, -pitch, -yaw])
  points = np.zeros((68, 2))
  seen = turn.apply(landmarks._HEAD)[:, :2]
  points[landmarks._HEAD_POINTS] = 37 * seen + (120, 90)
  return points


@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (0.6, 0, 0), (0, 0.4, 0), (0, 0, -0.5),
             (0.4, -0.3, 0.7), (-0.9, 0.2, -0.2)]
)  # fmt: skip
def test_pose_of_the_turned_head_is_found(pose):
  result = landmarks.pose_of_68(_turned(*pose)[None])[0]
  np.testing.assert_allclose(result, pose, atol=1e-5)


def test_signs_of_pose_are_those_of_the_docstring():
  middle = _turned(0, 0, 0)
  right, up, lean = _turned(0.3, 0, 0), _turned(0, 0.3, 0), _turned(0, 0, 0.3)
  nose, left_eye, right_eye = 30, 36, 45
  assert right[nose, 0] > middle[nose, 0]
  assert up[nose, 1] < middle[nose, 1]
  assert lean[right_eye, 1] > middle[right_eye, 1]
  assert lean[left_eye, 1] < middle[left_eye, 1]


def test_68_points_become_the_named_ones():
  points = np.random.default_rng(0).normal(size=(3, 68, 2))
  result = landmarks.standard_landmarks(points)
  assert result.shape == (3, 26, 2)
  where = {name: result[:, i] for i, name in enumerate(LANDMARKS)}
  np.testing.assert_allclose(
    where["left_eye"], points[:, 36:42].mean(1), rtol=1e-6
  )
  for name, source in {"nose": 30, "left_mouth": 48, "right_mouth": 54,
                       "chin_center": 8, "left_brow_left": 17,
                       "right_brow_right": 26, "nose_left": 31,
                       "right_eye_left": 42}.items():  # fmt: skip
    np.testing.assert_allclose(where[name], points[:, source], rtol=1e-6)
  unknown = [n for n in LANDMARKS if np.isnan(where[n]).all()]
  assert unknown == ["left_ear", "right_ear"]


def test_other_markups():
  rng = np.random.default_rng(1)
  five = rng.normal(size=(2, 5, 2))
  result = landmarks.standard_landmarks(five)
  np.testing.assert_allclose(result[:, :5], five, rtol=1e-6)
  assert np.isnan(result[:, 5:]).all()
  aflw = rng.normal(size=(2, 21, 2))
  result = landmarks.standard_landmarks(aflw)
  np.testing.assert_allclose(result[:, 5:], aflw, rtol=1e-6)
  # left_eye is left_eye_center, right_mouth is mouth_right.
  np.testing.assert_allclose(result[:, [0, 4]], aflw[:, [7, 19]], rtol=1e-6)
  lab = rng.normal(size=(2, 189, 2))
  result = landmarks.standard_landmarks(lab)
  np.testing.assert_allclose(result[:, :2], lab[:, :2], rtol=1e-6)
  assert np.isfinite(result).all()
  assert landmarks.standard_landmarks(rng.normal(size=(2, 77, 2))) is None


def test_points_a_turned_head_may_hide_are_not_called_visible():
  points = np.stack([_turned(0, 0, 0), _turned(0.8, 0, 0), _turned(-0.8, 0, 0)])
  standard = landmarks.standard_landmarks(points)
  visible = landmarks.visibility_of(standard, landmarks.pose_of_68(points))
  names = list(LANDMARKS)
  left, right = names.index("left_eye_left"), names.index("right_mouth")
  # Looking to the right of the image hides the right side of the face in it.
  np.testing.assert_array_equal(visible[:, left], [1, 1, -1])
  np.testing.assert_array_equal(visible[:, right], [1, -1, 1])
  middle = names.index("nose_center")
  np.testing.assert_array_equal(visible[:, middle], [1, 1, 1])
  assert (visible[:, names.index("left_ear")] == -1).all()
