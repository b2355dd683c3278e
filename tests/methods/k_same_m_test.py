import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from scipy.interpolate import RBFInterpolator

from jaxpriv.data import alignment
from jaxpriv.data.records import LANDMARKS
from jaxpriv.methods import k_same_m
from jaxpriv.training import mesh as mesh_lib
from tests.methods.closed_set import assert_hidden, members

ROWS, SIDE = 12, 16
# Where the 21 points of AFLW lie in a face, in shares of the side.
FACE = np.array(
  [
    [0.24, 0.36], [0.32, 0.33], [0.42, 0.36], [0.58, 0.36], [0.68, 0.33],
    [0.76, 0.36], [0.28, 0.46], [0.342, 0.4615], [0.41, 0.46], [0.59, 0.46],
    [0.6565, 0.4598], [0.72, 0.46], [0.1, 0.5], [0.42, 0.63], [0.5002, 0.6405],
    [0.58, 0.63], [0.9, 0.5], [0.371, 0.8247], [0.5, 0.83], [0.6315, 0.8232],
    [0.5, 0.98],
  ]
)  # fmt: skip


def of_aflw(points):
  """Points [..., 21, 2] as landmarks [..., 26, 2]; the first five are told."""
  five = points[..., k_same_m.FIVE, :]
  return np.concatenate([five, points], -2).astype(np.float32)


def faces(seed, rows=ROWS, side=SIDE, shift=0.03):
  """Noise images, and points that differ from image to image."""
  rng = np.random.default_rng(seed)
  images = rng.random((rows, side, side, 3)).astype(np.float32)
  points = FACE + shift * rng.normal(size=(rows, *FACE.shape))
  return images, of_aflw(points * side)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 5]), st.booleans())
def test_no_recogniser_beats_one_in_k(seed, k, unknown):
  rng = np.random.default_rng(seed)
  owner = np.r_[np.arange(6), rng.integers(6, size=ROWS - 6)]
  padding = np.arange(ROWS) >= ROWS - 1
  images, landmarks = faces(seed)
  if unknown:
    landmarks[rng.integers(ROWS, size=3)] = np.nan
    landmarks[:, 5 + rng.integers(len(FACE), size=2)] = np.nan
  released = np.asarray(
    k_same_m.k_same_m(
      images, landmarks, k, identity=5 + 3 * owner, padding=padding,
      components=4,
    )
  )  # fmt: skip
  assert np.isfinite(released).all() and (released[padding] == 0).all()
  assert_hidden(released[~padding], owner[~padding], k)


def test_faces_of_one_shape_are_averaged_pixel_by_pixel():
  images, _ = faces(1)
  landmarks = np.repeat(of_aflw(FACE * SIDE)[None], ROWS, 0)
  released = np.asarray(k_same_m.k_same_m(images, landmarks, 3))
  x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
  radius = np.hypot((x / SIDE - 0.5) / 0.4, (y / SIDE - 0.56) / 0.5)
  sizes = []
  for rows in members(released):
    mean = images[rows].astype(np.float64).mean(0)
    # The template of the five is met by least squares: a tenth of a pixel.
    np.testing.assert_allclose(
      released[rows[0]][radius < 0.85], mean[radius < 0.85], atol=0.05
    )
    sizes.append(len(rows))
  assert min(sizes) >= 3 and (released[:, radius > 1] == 0.5).all()


def test_features_that_do_not_coincide_leave_no_ghosts():
  """Two faces with a dot at each corner of the mouth, of other widths."""
  side = 48
  landmarks = np.stack([FACE, FACE]) * side
  landmarks[0, 17:20:2, 0] += (-4, 4)
  landmarks[1, 17:20:2, 0] += (4, -4)
  x, y = np.meshgrid(np.arange(side), np.arange(side))

  def drawn(points):
    square = [(x - px) ** 2 + (y - py) ** 2 for px, py in points]
    return 1 - sum(np.exp(-s / 4) for s in square)

  images = np.stack([drawn(points[17:20:2]) for points in landmarks])
  images = np.repeat(images[..., None], 3, -1).astype(np.float32)
  released = np.asarray(
    k_same_m.k_same_m(images, of_aflw(landmarks), 2, components=8)
  )[0, ..., 0]
  for px, py in (FACE * side)[17:20:2]:
    near = released[
      round(py) - 2 : round(py) + 3, round(px) - 2 : round(px) + 3
    ]
    assert near.min() < 0.25
    # Where either of them had its dot, there is none.
    for beside in (px - 4, px + 4):
      assert released[round(py), round(beside)] > 0.6
  assert images.mean(0).min() > 0.4


def test_splines_are_those_of_scipy():
  rng = np.random.default_rng(2)
  shape = FACE + 0.02 * rng.normal(size=FACE.shape)
  used = np.arange(len(FACE)) != 12
  targets = np.concatenate([FACE, k_same_m.HELD])
  places = rng.random((50, 2))
  basis = k_same_m._basis(
    jnp.asarray(places, jnp.float32), jnp.asarray(shape, jnp.float32), used
  )
  spline = k_same_m._spline(jnp.asarray(shape, jnp.float32), used, targets)
  kept = np.r_[used, np.ones(len(k_same_m.HELD), bool)]
  expected = RBFInterpolator(
    np.concatenate([shape, k_same_m.HELD])[kept],
    targets[kept],
    smoothing=k_same_m.SMOOTHING,
    kernel="thin_plate_spline",
  )(places)
  np.testing.assert_allclose(basis @ spline, expected, atol=1e-4)


def test_place_size_and_roll_are_not_of_the_shape():
  rng = np.random.default_rng(3)
  points = FACE + 0.02 * rng.normal(size=(ROWS, *FACE.shape))
  placed = np.ones(ROWS, bool)
  shapes, mean, used, _ = k_same_m._procrustes(jnp.asarray(points), placed)
  turned = rng.normal(size=(ROWS, 1, 2)) + 0.1
  scale = np.exp(rng.normal(size=(ROWS, 1)))
  angle = rng.uniform(-1, 1, size=(ROWS, 1))
  z = (points[..., 0] + 1j * points[..., 1]) * scale * np.exp(1j * angle)
  turned = np.stack([z.real, z.imag], -1) + turned
  again, other, _, back = k_same_m._procrustes(jnp.asarray(turned), placed)
  np.testing.assert_allclose(again, shapes, atol=1e-4)
  np.testing.assert_allclose(other, mean, atol=1e-4)
  np.testing.assert_allclose(back(again), turned, atol=1e-3)
  assert used.all()
  template = alignment.arcface_template(1)
  np.testing.assert_allclose(mean[k_same_m.FIVE], template, atol=0.03)


def test_points_that_are_unknown_lie_where_the_mean_has_them():
  points = np.repeat(FACE[None], ROWS, 0).copy()
  points[:2, 20] = np.nan
  points[:, 12] = np.nan
  shapes, mean, used, _ = k_same_m._procrustes(
    jnp.asarray(points), np.ones(ROWS, bool)
  )
  assert np.flatnonzero(~np.asarray(used)).tolist() == [12]
  np.testing.assert_allclose(shapes[0, 20], mean[20], atol=1e-6)
  assert np.isfinite(shapes).all()


def test_five_points_are_enough():
  images, landmarks = faces(4)
  landmarks[:, 5:] = np.nan
  released = k_same_m.k_same_m(images, landmarks, 2, components=4)
  assert np.isfinite(released).all()


def test_too_few_people_or_landmarks():
  images, landmarks = faces(5)
  config = ConfigDict(dict(model=dict(k=3, components=4)))
  known = {"identity": np.arange(ROWS), "landmarks": landmarks}
  assert not k_same_m.unfit(config, known)
  few = landmarks.copy()
  few[: ROWS // 2 + 1, [3, 22]] = np.nan  # a corner of the mouth
  reason = k_same_m.unfit(config, {**known, "landmarks": few})
  assert "left_mouth" in reason and f"5 of {ROWS} have them" in reason
  with pytest.raises(ValueError, match="at least half"):
    k_same_m.k_same_m(images, few, 3)
  with pytest.raises(ValueError, match="at least half"):
    k_same_m.k_same_m(images, 0 * landmarks, 3)
  with pytest.raises(ValueError, match="the set has 12"):
    k_same_m.k_same_m(images, landmarks, 13)
  run = jax.jit(lambda points: k_same_m.k_same_m(images, points, 3))
  assert np.isnan(run(few)).all() and np.isfinite(run(landmarks)).all()
  assert "there are 2" in k_same_m.unfit(
    config, {**known, "identity": np.arange(ROWS) % 2}
  )
  # A release tells identities before it reads a photograph.
  assert not k_same_m.unfit(config, {"identity": np.arange(ROWS)})


def test_every_photograph_of_a_set_on_eight_devices():
  """It hung where splines were solved for several groups at once."""
  images, landmarks = faces(7, rows=32)
  mesh = mesh_lib.make_mesh()
  with jax.set_mesh(mesh):
    batch = mesh_lib.put_batch({"x": images, "points": landmarks}, mesh)
    run = jax.jit(
      lambda batch: k_same_m.k_same_m(
        batch["x"], batch["points"], 2, components=4
      ),
      out_shardings=mesh_lib.batch_sharding(mesh),
    )
    got = mesh_lib.fetch(run(batch))
  expected = k_same_m.k_same_m(images, landmarks, 2, components=4)
  np.testing.assert_allclose(got, expected, atol=1e-4)


def test_phase():
  (phase,) = k_same_m.phases(ConfigDict(dict(model=dict(k=2, components=4))))
  images, landmarks = faces(6)
  batch = {
    "image": images,
    "landmarks": landmarks,
    "identity": np.arange(ROWS) // 2,
    "padding": np.arange(ROWS) >= ROWS - 2,
  }
  got = jax.jit(phase.method.outputs.image)({}, {}, batch)
  expected = k_same_m.k_same_m(
    images, landmarks, 2, identity=batch["identity"],
    padding=batch["padding"], components=4,
  )  # fmt: skip
  np.testing.assert_allclose(got, expected, atol=1e-4)
  for wrong, message in (
    (dict(k=1), "at least 2"),
    (dict(k=2, components=0), "components"),
  ):
    with pytest.raises(ValueError, match=message):
      k_same_m.phases(ConfigDict(dict(model=dict(dict(components=4), **wrong))))
  assert len(FACE) == len(LANDMARKS) - 5
