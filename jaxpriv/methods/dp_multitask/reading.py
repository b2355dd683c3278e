"""Reading faces, finding them in photographs, and how well that is done."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.data import regions
from jaxpriv.methods.dp_multitask import views
from jaxpriv.methods.dp_multitask.views import POINTS
from jaxpriv.metrics import faces
from jaxpriv.training import pictures


def _faces(apply, batch, options):
  """(faces as regions [B, 3], their crops, outputs of the network)."""
  face = regions.square_of(batch["box"])
  safe = jnp.where(jnp.isfinite(face), face, 1.0)
  crops = jax.vmap(lambda i, r: views.cut(i, r[None], options)[0])(
    batch["image"], safe
  )
  return face, crops, apply(crops)[0]


def read(apply, batch, options) -> dict[str, jax.Array]:
  """Reads the face of `box` [B, 4].

  Returns:
    landmarks [B, 21, 2] in pixels, as `records.AFLW_LANDMARKS`; visibility
    [B, 21]; pose [B, 3], radians; male [B], a probability. Only of the tasks
    that were learned.
  """
  face, _, outputs = _faces(apply, batch, options)
  points = outputs["landmarks"].reshape(len(face), -1, 2)
  answers = {
    "landmarks": face[:, None, :2] + points * face[:, None, 2:],
    "visibility": jnp.clip(outputs["visibility"], 0, 1),
    "pose": outputs["pose"],
    "gender": jax.nn.softmax(outputs["gender"])[:, 1],
  }
  answers = {task: y for task, y in answers.items() if task in options.tasks}
  return {"male" if k == "gender" else k: y for k, y in answers.items()}


def scores(apply, batch, options, gender) -> Mapping[str, jax.Array]:
  """How well the face in its box is read, [B] each, NaN where unlabelled.

  Points are in units of the side of the box, as the region is.
  """
  face, _, outputs = _faces(apply, batch, options)
  labels = views.labels_of_faces(batch, face, gender)
  answers = {
    "landmarks": outputs["landmarks"].reshape(len(face), -1, 2),
    "visibility": outputs["visibility"],
    "pose": outputs["pose"],
    "gender": outputs["gender"].argmax(-1),
  }
  answers = {task: y for task, y in answers.items() if task in options.tasks}
  values = faces.score(answers, labels)
  return {name: value.astype(jnp.float32) for name, value in values.items()}


def baseline(
  arrays: Mapping[str, np.ndarray], gender: int | None
) -> dict[str, float]:
  """Scores of the best constant answer: the mean face, the commoner gender.

  Args:
    arrays: fields of the records that are scored, [N, ...].
    gender: column of the attributes.

  Returns:
    score -> value, of those that are labelled.
  """
  box = np.asarray(arrays["box"], np.float64)
  side = np.sqrt(np.prod(box[:, 2:] - box[:, :2], -1))[:, None, None]
  centre = (box[:, None, :2] + box[:, None, 2:]) / 2
  points = (arrays["landmarks"][:, POINTS:] - centre) / side
  seen = arrays["visibility"][:, POINTS:]
  pose = np.asarray(arrays["pose"], np.float64)
  labels = {
    "landmarks": (points, (seen == 1) & np.isfinite(points).all(-1)),
    "visibility": (seen, seen >= 0),
    "pose": (pose, np.isfinite(pose)),
  }
  if gender is not None:
    label = np.asarray(arrays["attributes"])[:, gender]
    labels["gender"] = (label, label >= 0)
  values = faces.score(faces.constant(labels), labels)
  labelled = {name: x[np.isfinite(x)] for name, x in values.items()}
  scores = {name: float(x.mean()) for name, x in labelled.items() if len(x)}
  if "yaw_within_15" in scores:  # of which the median is not the best answer
    scores["yaw_within_15"] = faces.most_within(*labels["pose"])
  return scores


def pyramid(size: int, options) -> np.ndarray:
  """Windows [W, 3] of a photograph, small to large, which overlap."""
  windows = []
  side = options.smallest * size
  while side <= size * 1.001:
    count = max(int(np.ceil((size - side) / (options.stride * side))), 1) + 1
    steps = np.linspace(side / 2, size - side / 2, count if side < size else 1)
    windows += [(x, y, side) for y in steps for x in steps]
    side *= options.growth
  return np.array(windows, np.float32)


def detect(apply, batch, options) -> dict[str, jax.Array]:
  """The most face-like windows of each photograph.

  Returns:
    boxes [B, K, 4] and scores [B, K] in [0, 1], best first, overlapping: NMS
    follows, `metrics.detection.suppress`.
  """
  size = batch["image"].shape[1]
  windows = jnp.asarray(pyramid(size, options.pyramid))

  def one(image):
    crops = views.cut(image, windows, options)
    outputs, _ = apply(crops)
    score = jax.nn.softmax(outputs["detection"])[:, 1]
    best, which = jax.lax.top_k(score, min(options.pyramid.keep, len(windows)))
    return {"boxes": regions.box_of(windows[which]), "scores": best}

  return jax.lax.map(one, batch["image"])


def sample(apply, batch, options) -> dict[str, jax.Array]:
  """The face, and its points as labelled and as read; rows in that order."""
  face, crops, outputs = _faces(apply, batch, options)
  labelled = batch["landmarks"][:, POINTS:]
  labelled = (labelled - face[:, None, :2]) / face[:, None, 2:]
  points = outputs["landmarks"].reshape(labelled.shape)
  labelled, points = labelled / options.context, points / options.context
  # Large enough to see a point on.
  shape = (len(crops), 128, 128, 3)
  big = jax.image.resize(crops, shape, "linear")
  return {
    "face": big,  # by name, as keys are sorted
    "labelled": pictures.dotted(big, labelled),
    "read": pictures.dotted(big, points),
  }
