"""Landmark markups of other data sets, and head pose from landmarks.

The known markups have 5 points (ArcFace order), 21 (AFLW), 26
(`records.LANDMARKS`), 68 (iBUG, as dlib draws them) and 189 (the Face Research
Lab template, whose points 0 and 1 are the pupils). Left and right are as seen
in the image.

Pose is a weak-perspective fit (scaled orthographic projection, least squares,
rotation by polar decomposition) of twelve of the 68 points to a generic head.
It is approximate: the head is an average one, so that a long nose reads as some
degrees of pitch, and points of profiles are often rough. Signs: yaw is positive
when the face looks to the right of the image, pitch when it looks up, roll when
the head leans clockwise as seen in the image.
"""

from collections.abc import Sequence

import numpy as np

from jaxpriv.data.records import AFLW_LANDMARKS, LANDMARKS

# Each point of LANDMARKS as the mean of these points; () where there is none.
_FROM_68 = (
  tuple(range(36, 42)),
  tuple(range(42, 48)),
  (30,),
  (48,),
  (54,),
  # AFLW
  (17,),
  (19,),
  (21,),
  (22,),
  (24,),
  (26,),
  (36,),
  tuple(range(36, 42)),
  (39,),
  (42,),
  tuple(range(42, 48)),
  (45,),
  (),
  (31,),
  (30,),
  (35,),
  (),
  (48,),
  (62, 66),
  (54,),
  (8,),
)
# The 189 points have none on the tip of the nose: it lies between its two sides
# (54, 60), a quarter of the way down to the base (55).
_NOSE_189 = (54, 60, 54, 60, 54, 60, 55, 55)
_FROM_189 = (
  (0,),
  (1,),
  _NOSE_189,
  (87,),
  (93,),
  # AFLW
  (71,),
  (73, 74, 83, 84),
  (75, 76),
  (77, 78),
  (79, 80, 85, 86),
  (82,),
  (18,),
  (0,),
  (22,),
  (23,),
  (1,),
  (27,),
  (118,),
  (62, 63),
  _NOSE_189,
  (67, 68),
  (123,),
  (87,),
  (96, 101),
  (93,),
  (129,),
)
_FIVE_OF_AFLW = ("left_eye_center", "right_eye_center", "nose_center",
                 "mouth_left", "mouth_right")  # fmt: skip
_FROM_21 = tuple(
  (AFLW_LANDMARKS.index(name),) for name in _FIVE_OF_AFLW
) + tuple((i,) for i in range(21))
_FROM_5 = tuple((i,) for i in range(5)) + ((),) * 21
_FROM_26 = tuple((i,) for i in range(26))
_MARKUPS = {5: _FROM_5, 21: _FROM_21, 26: _FROM_26, 68: _FROM_68,
            189: _FROM_189}  # fmt: skip

# A generic head in units of the distance between the outer eye corners: x to
# the right of the image, y down, z away from the camera.
_HEAD_68 = {
  17: (-0.64, -0.19, 0.16),
  21: (-0.20, -0.24, -0.06),
  22: (0.20, -0.24, -0.06),
  26: (0.64, -0.19, 0.16),
  36: (-0.50, 0.00, 0.10),
  39: (-0.21, 0.01, 0.03),
  42: (0.21, 0.01, 0.03),
  45: (0.50, 0.00, 0.10),
  30: (0.00, 0.42, -0.33),
  33: (0.00, 0.55, -0.17),
  48: (-0.29, 0.80, -0.03),
  54: (0.29, 0.80, -0.03),
}
_HEAD_POINTS = np.array(list(_HEAD_68))
_HEAD = np.array(list(_HEAD_68.values()))

# Beyond this yaw the far half of a face may hide its points.
_HIDING_YAW = np.deg2rad(30)


def standard_landmarks(points: np.ndarray) -> np.ndarray | None:
  """Points [N, K, 2] of a known markup as `records.LANDMARKS`.

  Returns:
    float32 [N, 26, 2], NaN where the markup has no such point; None when no
    markup with K points is known.
  """
  markup = _MARKUPS.get(points.shape[1])
  if markup is None:
    return None
  result = np.full((len(points), len(LANDMARKS), 2), np.nan, np.float32)
  for i, members in enumerate(markup):
    if members:
      result[:, i] = points[:, list(members)].mean(1)
  return result


def pose_of_68(points: np.ndarray) -> np.ndarray:
  """Yaw, pitch, roll in radians [N, 3] of 68-point faces [N, 68, 2]."""
  head = _HEAD - _HEAD.mean(0)
  seen = np.asarray(points, np.float64)[:, _HEAD_POINTS]
  seen = seen - seen.mean(1, keepdims=True)
  affine = np.swapaxes(seen, 1, 2) @ np.linalg.pinv(head).T  # [N, 2, 3]
  left, _, right = np.linalg.svd(affine, full_matrices=False)
  rows = left @ right
  third = np.cross(rows[:, 0], rows[:, 1])
  yaw = np.arctan2(third[:, 0], third[:, 2])
  pitch = -np.arcsin(np.clip(third[:, 1], -1, 1))
  roll = np.arctan2(-rows[:, 0, 1], rows[:, 1, 1])
  return np.stack([yaw, pitch, roll], 1).astype(np.float32)


def mirrored(names: Sequence[str]) -> np.ndarray:
  """Positions [K] of points in a mirror image, left and right being swapped."""
  swapped = {"left": "right", "right": "left"}
  other = [
    "_".join(swapped.get(word, word) for word in name.split("_"))
    for name in names
  ]
  return np.array([names.index(name) for name in other])


def visibility_of(landmarks: np.ndarray, pose: np.ndarray) -> np.ndarray:
  """int8 [N, 26]: 1 where a point is known and cannot be hidden by the head.

  Unknown points are -1. So are known points of the far half of a face turned by
  more than 30 degrees: the annotator may have guessed them.
  """
  visible = np.where(np.isfinite(landmarks).all(-1), 1, -1).astype(np.int8)
  yaw = np.nan_to_num(pose[:, :1])
  for side, turned in (
    ("right", yaw > _HIDING_YAW),
    ("left", yaw < -_HIDING_YAW),
  ):
    far = np.array([name.startswith(side) or name.endswith(f"_{side}") and
                    not name.startswith(("left", "right"))
                    for name in LANDMARKS])  # fmt: skip
    visible[turned & far] = -1
  return visible
