"""Figures of `asked_points`: faces drawn under conditions of photographs."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.memory import InMemory
from jaxpriv.errors import SettingError
from jaxpriv.metrics import statistics
from jaxpriv.training import inference, synthetic
from jaxpriv.training import synthetic_game as game

_OUT = (-1.0, 0.0, 1.0)  # corners of mouths, in tenths of the eyes' distance
_EYES, _MOUTH = (0, 1), (3, 4)


def check(config: ConfigDict, base: str) -> None:
  """Raises a SettingError if a run is of no source that is told of points."""
  if config.method != "face_source" or not game.told_of_points(config.model):
    raise SettingError(
      f"--base={base}: it is to be a run of face_source whose"
      " config.model.points is true"
    )


def measured(config, state, test: InMemory, read) -> dict[str, object]:
  """Figures of faces drawn under the conditions of photographs.

  Args:
    config: of the source.
    state: of its phase.
    test: photographs.
    read: photographs -> their domains and points [N, 5, 2] in pixels.
  """
  networks = game.generator(config, config.model)
  align, side = config.data.align, test.arrays["image"].shape[1]
  batch = inference.as_float(jax.tree.map(jnp.asarray, dict(test.arrays)))
  keys = jax.random.split(jax.random.key(config.seed), len(test))
  labels = test.arrays["landmarks"][:, :5].astype(np.float64)

  @jax.jit
  def draw(points):
    under = synthetic.condition_of(batch, align, points)
    truncation = config.model.truncation
    return synthetic.generate(networks, state, under, keys, truncation)

  def points_of(points):
    images = np.asarray(255 * draw(points) + 0.5).astype(np.uint8)
    return read(test.replace(image=images))[1]

  asked = synthetic.displacements(jnp.asarray(labels), side, align)
  drawn = points_of(asked)
  free = points_of(synthetic.unknown_points(len(test)))
  apart = lambda a, b: np.linalg.norm(a - b, axis=-1)
  error = lambda points: _interval(
    apart(points, labels).mean(1) / side, test.identities
  )
  found: dict[str, object] = {
    "faces": len(test),
    "error on photographs": error(read(test)[1]),
    "error of guessing the mean": error(labels.mean(0)[None]),
    "error where points are asked for": error(drawn),
    "error where none is": error(free),
  }
  for axis, name in enumerate("xy"):
    for what, points in ("asked", drawn), ("not asked", free):
      found[f"correlation of {name}, {what}"] = [
        round(
          float(np.corrcoef(labels[:, i, axis], points[:, i, axis])[0, 1]), 2
        )
        for i in range(5)
      ]
  for out in _OUT:
    points = points_of(game.mouths(jnp.full(len(test), out)))
    width, eyes = (
      apart(points[:, b], points[:, a]) for a, b in (_MOUTH, _EYES)
    )
    found[f"width of mouths, corners {out:+} out"] = _interval(
      width / eyes, test.identities
    )
  return found


def _interval(values: np.ndarray, people: np.ndarray) -> list[float]:
  """Their mean, and its interval over people."""
  mean = statistics.mean_interval(values, people)
  return [round(float(x), 4) for x in (mean.value, mean.low, mean.high)]
