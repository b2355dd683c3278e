import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpriv.data import filters
from jaxpriv.methods import baselines


def images(seed=0, *shape):
  shape = shape or (3, 32, 40, 3)
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def landmarks(*eyes):
  points = np.full((len(eyes), 26, 2), np.nan, np.float32)
  points[:, :2] = eyes
  return points


def test_black_box_covers_the_eyes():
  x = images(0, 3, 64, 64, 3)
  eyes = [[[20, 25], [40, 25]], [[20, 20], [40, 40]], [[30, 20], [30, 44]]]
  out = np.asarray(baselines.black_box(x, landmarks(*eyes), 0.2))
  black = (out == 0).all(-1)
  for row, points in enumerate(np.array(eyes, float)):
    (x0, y0), (x1, y1) = points
    distance = np.hypot(x1 - x0, y1 - y0)
    for j in range(64):
      for i in range(64):
        dx, dy = i - (x0 + x1) / 2, j - (y0 + y1) / 2
        along = (dx * (x1 - x0) + dy * (y1 - y0)) / distance
        across = (dy * (x1 - x0) - dx * (y1 - y0)) / distance
        inside = max(abs(along) / distance, abs(across) / 6.4) - 1
        # Pixels whose centre is on the rim may fall on either side.
        assert abs(inside) < 1e-3 or black[row, j, i] == (inside < 0)
  np.testing.assert_array_equal(out[~black], x[~black])


def test_black_box_falls_back_on_the_template():
  x = 0.5 + images(1, 4, 112, 112, 3) / 2
  points = landmarks(*[[[10, 100], [30, 100]]] * 4)
  points[1] = np.nan
  points[2, 1, 0] = np.nan
  # One point twice: a level bar about it, not NaN.
  points[3, 1] = points[3, 0]
  black = (np.asarray(baselines.black_box(x, points)) == 0).all(-1)
  # Where the eyes of an aligned 112 px face are.
  template = [(52, 38), (51, 74)]
  for row, given in enumerate([True, False, False, True]):
    assert all(black[row, y, x] != given for y, x in template)
    assert black[row, 100, 10] == given
  np.testing.assert_array_equal(
    black[1], (np.asarray(baselines.black_box(x)) == 0).all(-1)[1]
  )
  # Half the size, the same place.
  half = np.asarray(baselines.black_box(x[:1, ::2, ::2])) == 0
  assert half[0, 26, 19].all() and half[0, 26, 37].all()


@pytest.mark.parametrize("blocks", [1, 4, 5, 7, 32])
def test_pixelate_by_hand(blocks):
  x = images(4)
  got = np.asarray(baselines.pixelate(x, blocks))
  row = np.arange(32) * blocks // 32
  column = np.arange(40) * blocks // 40
  for p in range(blocks):
    for q in range(blocks):
      tile = np.ix_(range(3), row == p, column == q)
      mean = x[tile].astype(float).mean((1, 2), keepdims=True)
      np.testing.assert_allclose(
        got[tile], np.broadcast_to(mean, got[tile].shape), atol=1e-5
      )
  assert len(np.unique(got[0, ..., 0])) <= blocks**2
  with pytest.raises(ValueError, match="33 blocks"):
    baselines.pixelate(x, 33)


def config(kind, strength):
  model = {"kind": kind, "strength": strength}
  return ConfigDict({"model": model, "data": {"align": "landmarks"}})


@pytest.mark.parametrize("kind", baselines.KINDS)
def test_phase(kind):
  (phase,) = baselines.phases(config(kind, 0.125))
  assert phase.needs == ()
  x = images(5, 2, 32, 32, 3)
  batch = {
    "image": jnp.asarray(x),
    "landmarks": jnp.asarray(landmarks(*[[[8, 12], [24, 12]]] * 2)),
    "padding": jnp.zeros(2, bool),
  }
  method = phase.method
  state = method.init(jax.random.key(0), batch, {})
  state, metrics = jax.jit(method.step)(state, {}, batch, jax.random.key(1))
  assert state == {} and metrics == {}
  got = jax.jit(method.outputs.image)(state, {}, batch)
  expected = {
    "black_box": lambda: baselines.black_box(x, batch["landmarks"], 0.125),
    "gaussian_blur": lambda: filters.gaussian_blur(x, 4.0),
    "pixelation": lambda: baselines.pixelate(x, 8),
  }[kind]()
  np.testing.assert_allclose(got, expected, atol=1e-6)
  assert np.abs(got - x).max() > 0.1
  if kind == "black_box":
    keep = np.asarray(method.outputs.keep(state, {}, batch))
    assert keep.dtype == bool and 0 < keep.mean() < 1
    np.testing.assert_array_equal(got, x * keep[..., None])
  else:
    assert method.outputs.keep is None


@pytest.mark.parametrize(
  "kind, strength, message",
  [("mosaic", 0.1, "pixelation"), ("black_box", 8, "share")],
)
def test_rejects(kind, strength, message):
  with pytest.raises(ValueError, match=message):
    baselines.phases(config(kind, strength))
