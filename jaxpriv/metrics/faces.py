"""How well a face is read: its points, which are seen, its pose, its class.

Every function compares what was read with labels [N, ...], of which a mask says
which are known, and returns one value a face, [N], NaN where nothing is known.
JAX computes on JAX arrays, traced ones too, and NumPy on all others.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WITHIN = 15  # degrees of yaw


def score(
  read: Mapping[str, Any], labels: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
  """All scores of what was read of faces.

  Args:
    read: any of "landmarks" [N, K, 2], "visibility" [N, K] in [0, 1], "pose"
      [N, 3] in radians and "gender" [N].
    labels: the same names -> (labels, which are known); visibility is 0 or 1.

  Returns:
    score -> [N].
  """
  scores = {}
  if "landmarks" in read:
    scores["landmark_error"] = landmark_error(
      read["landmarks"], *labels["landmarks"]
    )
  if "visibility" in read:
    scores["visibility_accuracy"] = visibility_accuracy(
      read["visibility"], *labels["visibility"]
    )
  if "pose" in read:
    scores["pose_error"] = pose_error(read["pose"], *labels["pose"])
    scores["yaw_within_15"] = yaw_within(read["pose"], *labels["pose"])
  if "gender" in read:
    scores["gender_accuracy"] = class_accuracy(
      read["gender"], *labels["gender"]
    )
  return scores


def most_within(pose: np.ndarray, known: np.ndarray) -> float:
  """The largest share of `yaw_within` that one answer for all faces reaches.

  Args:
    pose: [N, 3] in radians, yaw first.
    known: [N, 3]; at least one yaw is.
  """
  yaw = np.sort(pose[:, 0][known[:, 0]])
  end = np.searchsorted(yaw, yaw + 2 * np.radians(WITHIN), side="right")
  return float((end - np.arange(len(yaw))).max() / len(yaw))


def constant(labels: Mapping[str, tuple[Any, Any]]) -> dict[str, np.ndarray]:
  """The best answer, of each name of `score`, that is the same for all faces.

  Args:
    labels: name -> (labels [N, ...], which are known), NumPy arrays.

  Returns:
    name -> [1, ...]: means of points and of visibility, the median pose, the
    commonest class; NaN where no label is known.
  """
  best: dict[str, Any] = {}
  for name, (label, known) in labels.items():
    if name == "pose":
      columns = [x[k] for x, k in zip(label.T, known.T, strict=True)]
      answer: Any = np.array(
        [np.median(x) if len(x) else np.nan for x in columns]
      )
    elif name == "gender":
      answer = np.bincount(label[known], minlength=1).argmax()
    elif name == "landmarks":
      answer = mean_of_known(label, known[..., None], axis=0)
    else:
      answer = mean_of_known(label, known, axis=0)
    best[name] = answer[None]
  return best


def landmark_error(points: Any, label: Any, known: Any) -> Any:
  """Mean distance of the points [N, K, 2], in the unit that they are in."""
  xp = _namespace(label)
  distance = xp.linalg.norm(points - label, axis=-1)
  return mean_of_known(distance, known)


def visibility_accuracy(seen: Any, label: Any, known: Any) -> Any:
  """Share of points [N, K] that are rightly called seen or unseen."""
  return mean_of_known((seen > 0.5) == (label > 0.5), known)


def pose_error(pose: Any, label: Any, known: Any) -> Any:
  """Mean error of yaw, pitch and roll [N, 3], in degrees."""
  return mean_of_known(_degrees(pose, label), known)


def yaw_within(pose: Any, label: Any, known: Any, degrees: float = WITHIN):
  """1 where the error of the yaw is at most so many degrees, 0 where not."""
  xp = _namespace(label)
  error = _degrees(pose, label)[..., 0]
  return xp.where(known[..., 0], error <= degrees, xp.nan)


def class_accuracy(classes: Any, label: Any, known: Any) -> Any:
  """1 where the class [N] is right, 0 where not."""
  xp = _namespace(label)
  return xp.where(known, classes == label, xp.nan)


def mean_of_known(values: Any, known: Any, axis: int = -1) -> Any:
  """The mean over an axis of the values that are known, NaN if none is."""
  xp = _namespace(values)
  count = xp.where(known.any(axis), known.sum(axis), xp.nan)
  return xp.where(known, values, 0).sum(axis) / count


def _degrees(pose, label):
  return abs(pose - label) * (180 / np.pi)


def _namespace(x: Any) -> Any:
  return jnp if isinstance(x, jax.Array) else np
