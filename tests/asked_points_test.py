"""Points of drawn faces beside those that were asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data.memory import InMemory
from jaxpriv.errors import SettingError
from jaxpriv.methods import face_source
from jaxpriv.training import inference
from tests import tiny
from tools import asked_points_figures as asked_points


def test_figures_of_readers_that_see_all_and_nothing():
  config, arrays = tiny.face_source(), tiny.faces(12)
  test = InMemory(arrays, ("Male",))
  labels = arrays["landmarks"][:, :5].astype(np.float64)
  batch = inference.as_float(jax.tree.map(jnp.asarray, arrays))
  method = face_source.phases(config)[0].method
  state = method.init(jax.random.key(0), batch, {})
  shown = []

  def everything(photographs):
    shown.append(photographs.arrays["image"])
    return None, labels

  found = asked_points.measured(config, state, test, everything)
  assert found["faces"] == 12
  assert found["error where points are asked for"] == [0, 0, 0]
  assert found["correlation of x, asked"] == [1] * 5
  nose = np.linalg.norm(labels - labels.mean(0), axis=-1).mean() / tiny.SIDE
  assert found["error of guessing the mean"][0] == pytest.approx(nose, abs=1e-4)
  mouths = np.linalg.norm(labels[:, 4] - labels[:, 3], axis=-1)
  widths = mouths / np.linalg.norm(labels[:, 1] - labels[:, 0], axis=-1)
  width = found["width of mouths, corners -1.0 out"]
  assert width[0] == pytest.approx(widths.mean(), abs=1e-3)
  # Photographs are read, and faces under five kinds of points.
  assert len(shown) == 6
  assert len({images.tobytes() for images in shown}) == 6
  moved = lambda photographs: (None, labels + [0, 3.2])
  found = asked_points.measured(config, state, test, moved)
  assert found["error where none is"][0] == pytest.approx(0.1, abs=1e-3)


def test_a_source_that_is_told_of_no_points_is_refused():
  asked_points.check(tiny.face_source(), "runs/source")
  for config in tiny.face_source(points=False), tiny.deep_poisoning():
    with pytest.raises(SettingError, match="config.model.points is true"):
      asked_points.check(config, "runs/source")
