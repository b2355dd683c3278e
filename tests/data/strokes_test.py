"""Strokes against a rasteriser in NumPy and Pillow's, and their properties."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from jaxpriv.data import masks
from jaxpriv.data import strokes as strokes_lib
from jaxpriv.data.masks import HOLES, KEPT
from jaxpriv.data.records import DataError
from jaxpriv.data.strokes import Segments, Strokes
from jaxpriv.errors import SettingError

SIDE = 45  # no multiple of the bits of a word
FEW = Strokes(2, 3, 6)


@functools.cache
def drawing(side):
  return jax.jit(lambda segments: strokes_lib.draw(segments, side))


@functools.cache
def free_forms(drawn=HOLES):
  one = lambda key, strokes: strokes_lib.free_form(
    key, strokes, SIDE, drawn=drawn, segments=12
  )
  return jax.jit(jax.vmap(one))


@functools.cache
def with_ratios(drawn):
  one = lambda key, hidden, critical: strokes_lib.with_ratio(
    key, hidden, FEW, SIDE, drawn=drawn, segments=12, critical=critical
  )
  return jax.jit(jax.vmap(one))


@functools.cache
def walks():
  """Walks of 64 masks, under one set of hyper-parameters."""
  keys = jax.random.split(jax.random.key(3), 64)
  one = lambda key, strokes: strokes_lib.random_walk(key, strokes, SIDE, 24)
  walk = jax.jit(jax.vmap(one, (0, None)))
  return lambda strokes: walk(keys, Strokes(*map(np.float32, strokes)))


def many(strokes, count):
  return Strokes(*(np.full(count, x, np.float32) for x in strokes))


def distances(start, end, side):
  """Distance of every pixel to a segment, float64 [side, side]."""
  y, x = np.mgrid[:side, :side].astype(float)
  along = np.asarray(end, float) - start
  t = (x - start[0]) * along[0] + (y - start[1]) * along[1]
  t = np.clip(t / max(along @ along, 1e-30), 0, 1)
  return np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])


PLACE = st.one_of(st.integers(-5, 50).map(float), st.floats(-5, 50, width=32))
SEGMENT = st.tuples(
  PLACE, PLACE, PLACE, PLACE, st.floats(0.5, 60, width=32), st.integers(0, 3)
)


@given(
  st.lists(SEGMENT, min_size=4, max_size=4), st.sampled_from([7, 32, SIDE])
)
@settings(max_examples=80, deadline=None)
def test_a_pixel_is_on_by_its_distance(drawn, side):
  rows = np.array([row[:5] for row in drawn])
  start, end, width = rows[:, :2], rows[:, 2:4].copy(), rows[:, 4]
  for i, (*_, kind) in enumerate(drawn):
    if kind < 2:  # upright or level; both, a point, may come, too
      end[i, kind] = start[i, kind]
    if kind == 3:
      end[i] = start[i]
  excess = np.min(
    [
      distances(a, b, side) - w / 2
      for a, b, w in zip(start, end, width, strict=True)
    ],
    0,
  )
  pixels = np.asarray(
    drawing(side)(Segments(*map(jnp.float32, (start, end, width))))
  )
  clear = np.abs(excess) > 1e-3
  np.testing.assert_array_equal(pixels[clear], (excess <= 0)[clear])


def test_a_segment_without_width_draws_nothing():
  places = jnp.array([[3.0, 4.0], [20.0, 20.0]])
  nothing = Segments(places, places[::-1], jnp.array([0.0, -3.0]))
  assert not drawing(SIDE)(nothing).any()


def drawn_by_pillow(walk, side):
  image = Image.new("L", (side, side))
  pen = ImageDraw.Draw(image)
  for start, end, width in zip(*map(np.asarray, walk), strict=True):
    if width > 0:
      pen.line([*start, *end], fill=1, width=round(width))
      for x, y in (start, end):
        r = width / 2
        pen.ellipse([x - r, y - r, x + r, y + r], fill=1)
  return np.asarray(image) > 0


def test_pillow_draws_much_the_same():
  side, overlaps = 128, []
  walked = jax.jit(
    lambda key: strokes_lib.random_walk(key, Strokes(3, 4, 8), side, 24)
  )
  for i in range(20):
    key = jax.random.key(i)
    walk = walked(key)
    ours = np.asarray(drawing(side)(walk))
    theirs = drawn_by_pillow(walk, side)
    overlaps.append((ours & theirs).sum() / (ours | theirs).sum())
  assert np.mean(overlaps) > 0.93


def test_a_mask_is_a_function_of_its_key():
  keys = jax.random.split(jax.random.key(0), 8)
  keep = np.asarray(free_forms()(keys, many(FEW, 8)))
  assert keep.dtype == bool and keep.shape == (8, SIDE, SIDE)
  again = np.asarray(free_forms()(keys[::-1], many(FEW, 8)))
  np.testing.assert_array_equal(again[::-1], keep)
  assert len(np.unique(keep.reshape(8, -1), axis=0)) == 8
  alone = np.asarray(free_forms()(keys[3:4], many(FEW, 1)))
  # A pixel at the border of a stroke may go by how numbers are rounded.
  assert (alone[0] != keep[3]).sum() <= 1


def test_strokes_are_what_is_said():
  keys, strokes = jax.random.split(jax.random.key(1), 8), many(FEW, 8)
  holes = np.asarray(free_forms(HOLES)(keys, strokes))
  kept = np.asarray(free_forms(KEPT)(keys, strokes))
  np.testing.assert_array_equal(holes, ~kept)
  one = lambda key: strokes_lib.random_walk(key, FEW, SIDE, 12)
  walked = jax.jit(jax.vmap(one))(keys)
  for hole, start, width in zip(holes, walked.start, walked.width):
    x, y = np.round(start[width > 3]).astype(int).T
    assert len(x) and not hole[y, x].any()
  with pytest.raises(SettingError, match="neither 'holes' nor 'kept'"):
    strokes_lib.free_form(keys[0], FEW, SIDE, drawn="hole", segments=12)


HYPERPARAMETERS = st.builds(
  lambda number, vertices, *rest: Strokes(number, *sorted(vertices), *rest),
  st.integers(1, 3),
  st.tuples(st.integers(1, 8), st.integers(1, 8)),
  st.floats(0.01, 1),
  st.floats(0.02, 0.5),
  st.floats(0.1, 6.2),
)


@given(HYPERPARAMETERS)
@settings(max_examples=40, deadline=None)
def test_a_walk_keeps_to_its_hyperparameters(strokes):
  start, end, width = map(np.asarray, walks()(strokes))
  live = width > 0
  counts = live.sum(1)
  assert counts.min() >= strokes.number * strokes.min_vertex
  assert counts.max() <= strokes.number * strokes.max_vertex
  assert (np.diff(live.astype(int), axis=1) <= 0).all()
  for places in (start[live], end[live]):
    assert places.min() >= 0 and places.max() <= SIDE - 1
  lengths = np.hypot(*np.moveaxis(end - start, -1, 0))[live]
  assert lengths.max() <= strokes.max_length * SIDE + 1e-3
  assert width.max() <= strokes.max_width * SIDE + 1e-3
  thinnest = min(10 / 224, strokes.max_width) * SIDE
  assert width[live].min() >= thinnest - 1e-3
  # Segments of a stroke hang together: breaks are between strokes only.
  jumps = (np.abs(start[:, 1:] - end[:, :-1]).max(-1) > 1e-4) & live[:, 1:]
  assert jumps.sum(1).max() < strokes.number


def test_all_that_hyperparameters_allow_occurs():
  strokes = Strokes(1, 2, 5, 0.5, 0.3)
  start, end, width = map(np.asarray, walks()(strokes))
  live = width > 0
  assert set(live.sum(1)) == {2, 3, 4, 5}
  lengths = np.hypot(*np.moveaxis(end - start, -1, 0))[live]
  assert lengths.max() > 0.45 * SIDE and lengths.min() < 0.05 * SIDE
  assert width.max() > 0.28 * SIDE and width[live].min() < 0.06 * SIDE
  # Strokes begin anywhere.
  first = start[:, 0]
  assert (first.min(0) < 0.1 * SIDE).all()
  assert (first.max(0) > 0.9 * SIDE).all()
  np.testing.assert_allclose(first.mean(0), (SIDE - 1) / 2, atol=0.15 * SIDE)


def test_angles_alternate_and_half_of_strokes_are_mirrored():
  """Seen from the vertical, steps go left, right, left."""
  limit = 0.4
  start, end, _ = map(np.asarray, walks()(Strokes(1, 6, 6, 0.1, 0.1, limit)))
  # Segments that do not end at the border, where they are cut.
  step = (end - start)[:, :6]
  inner = ((end > 0.01) & (end < SIDE - 1.01)).all(-1)[:, :6]
  inner &= np.abs(step).min(-1) > 1e-3
  tangent = np.abs(step[..., 0] / np.where(inner, step[..., 1], 1))
  assert tangent[inner].max() <= math.tan(limit) + 1e-3
  assert tangent[inner].max() > 0.9 * math.tan(limit)
  turn = np.sign(step[..., 0])
  for i in range(5):
    both = inner[:, i] & inner[:, i + 1]
    assert (turn[both, i] == -turn[both, i + 1]).all()
  for axis in (0, 1):
    first = np.sign(step[inner[:, 0], 0, axis])
    assert 0.2 < (first > 0).mean() < 0.8


def test_hyperparameters_differ_within_one_program():
  keys = jnp.stack([jax.random.key(5)] * 3)
  rows = [FEW, Strokes(1, 1, 3, 0.1, 0.1), Strokes(2, 6, 6, 0.9, 0.5, 1.0)]
  strokes = Strokes(*map(np.float32, zip(*rows, strict=True)))
  keep = np.asarray(free_forms()(keys, strokes))
  for mask, row in zip(keep, rows, strict=True):
    alone = free_forms()(keys[:1], many(row, 1))[0]
    assert (np.asarray(alone) != mask).sum() <= 1
  ratios = masks.hidden_ratio(keep)
  assert ratios[1] < ratios[0] < ratios[2]


@pytest.mark.parametrize("setting,name", [
  (dict(number=0), "strokes.number"),
  (dict(min_vertex=0), "strokes.min_vertex"),
  (dict(min_vertex=5, max_vertex=4), "min_vertex.*exchange"),
  (dict(max_length=math.nan), "strokes.max_length"),
  (dict(max_width=0.0), "strokes.max_width = 0 draws nothing"),
  (dict(max_angle=-1.0), "strokes.max_angle"),
  (dict(number=7), "up to 14 segments.*the 12"),
])  # fmt: skip
def test_hyperparameters_that_will_not_do(setting, name):
  strokes = Strokes(2, 1, 2)._replace(**setting)
  with pytest.raises(SettingError, match=name):
    strokes_lib.free_form(
      jax.random.key(0), strokes, SIDE, drawn=HOLES, segments=12
    )


@pytest.mark.parametrize("drawn", [HOLES, KEPT])
def test_the_wanted_ratio_is_met(drawn):
  hidden = np.linspace(0.05, 0.95, 19).astype(np.float32)
  keys = jax.random.split(jax.random.key(2), 19)
  nothing = np.zeros((19, SIDE, SIDE), bool)
  keep = with_ratios(drawn)(keys, hidden, nothing)
  np.testing.assert_allclose(masks.hidden_ratio(keep), hidden, atol=0.003)
  same = jnp.stack([keys[0]] * 19)
  # One walk: what a thinner brush hides, a wider one hides as well.
  keep = np.asarray(with_ratios(drawn)(same, hidden, nothing))
  assert not (keep[1:] & ~keep[:-1]).any()


@pytest.mark.parametrize("drawn", [HOLES, KEPT])
def test_critical_pixels_count_in_the_ratio(drawn):
  rng = np.random.default_rng(0)
  critical = rng.random((8, SIDE, SIDE)) < 0.2
  keys = jax.random.split(jax.random.key(2), 8)
  hidden = np.linspace(0.2, 0.7, 8).astype(np.float32)
  keep = np.asarray(with_ratios(drawn)(keys, hidden, critical))
  assert keep[critical].all()
  np.testing.assert_allclose(masks.hidden_ratio(keep), hidden, atol=0.003)
  # More than they leave cannot be hidden: all the rest is.
  keep = with_ratios(drawn)(keys, np.ones(8, np.float32), critical)
  assert np.mean(np.asarray(keep) != critical) < 0.01


@pytest.mark.parametrize("bucket", masks.BUCKETS)
def test_irregular_masks_are_in_their_bucket(bucket):
  keep = np.asarray(strokes_lib.irregular(jax.random.key(0), bucket, 32, 24))
  ratios = 1 - keep.mean((1, 2))
  assert (bucket[0] < ratios).all() and (ratios <= bucket[1]).all()
  assert np.ptp(ratios) > 0.7 * (bucket[1] - bucket[0])
  index = masks.BUCKETS.index(bucket)
  assert (masks.buckets_of(ratios) == index).all()


def test_irregular_masks_do_not_depend_on_their_number():
  make = functools.partial(
    strokes_lib.irregular, jax.random.key(1), masks.BUCKETS[2], 32
  )
  few, more = np.asarray(make(count=3)), np.asarray(make(count=24))
  assert (few != more[:3]).mean() < 0.001
  assert len(np.unique(more.reshape(24, -1), axis=0)) == 24


@pytest.mark.parametrize(
  "hidden,what", [((0.5, 0.2), "no range"), ((0.5, 0.5001), "wider range")]
)
def test_ranges_that_will_not_do(hidden, what):
  with pytest.raises(DataError, match=what):
    strokes_lib.irregular(jax.random.key(0), hidden, 32, 24)
