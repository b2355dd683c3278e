"""Suppression in tiles against one that visits box after box."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxpriv.metrics.nms import LARGEST, _area, nms

A = [10.0, 10, 30, 30]
FAR = [50.0, 50, 70, 70]
TILE = 64


@functools.partial(jax.jit, static_argnames=("inclusive", "tile"))
def tiled(boxes, scores, overlap, valid=None, inclusive=False, tile=TILE):
  return nms(boxes, scores, overlap, valid, inclusive, tile)


def greedy(boxes, scores, overlap, valid=None, inclusive=False):
  """Sequential suppression in float32, every operation rounded by NumPy."""
  boxes, extra = np.asarray(boxes, np.float32), np.float32(inclusive)
  scores, overlap = np.asarray(scores), np.float32(overlap)

  def area(x0, y0, x1, y1):
    width, height = x1 - x0 + extra, y1 - y0 + extra
    return np.where((width > 0) & (height > 0), width * height, np.float32(0))

  areas = area(*boxes.T)
  kept = np.zeros(len(boxes), bool)
  for i in np.argsort(-scores, kind="stable"):
    if valid is not None and not valid[i]:
      continue
    (x0, y0, x1, y1), rest = boxes[i], boxes[kept].T
    shared = area(
      np.maximum(x0, rest[0]),
      np.maximum(y0, rest[1]),
      np.minimum(x1, rest[2]),
      np.minimum(y1, rest[3]),
    )
    union = areas[i] + areas[kept] - shared
    kept[i] = not (shared > overlap * union).any()
  return kept


def crowd(seed, n, clusters):
  """Boxes about few places, so that most are suppressed, and their scores.

  Some are whole pixels, whose overlaps tie, some scores tie, some rows recur.
  """
  rng = np.random.default_rng(seed)
  which = rng.integers(clusters, size=n)
  side = rng.uniform(5, 100, (clusters, 1))[which]
  centre = rng.uniform(0, 400, (clusters, 2))[which]
  centre += rng.normal(0, 0.2, (n, 2)) * side
  sides = side * np.exp(rng.normal(0, 0.2, (n, 2)))
  boxes = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
  scores = rng.random(n)
  if seed % 2:
    boxes, scores = boxes.round(), scores.round(1)
    boxes[rng.integers(n, size=n // 4)] = boxes[0]
  return boxes.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("overlap", [0.3, 0.4, 0.5])
@pytest.mark.parametrize("n", [1, 64, 65, 300])
def test_equals_sequential_suppression(n, overlap):
  suppressed = 0
  for seed in range(6):
    boxes, scores = crowd(seed, n, max(n // 20, 1))
    expected = greedy(boxes, scores, overlap)
    keep = tiled(boxes, scores, overlap)
    np.testing.assert_array_equal(keep, expected)
    suppressed += n - expected.sum()
  assert suppressed > 3 * n or n == 1


def sweep(boxes, scores, overlap):
  """As `greedy`, but each box that stays removes others at once: faster."""
  overlap, order = np.float32(overlap), np.argsort(-scores, kind="stable")
  x0, y0, x1, y1 = boxes[order].T
  rest, kept = np.stack([x0, y0, x1, y1, (x1 - x0) * (y1 - y0)]), []
  while len(order):
    kept.append(order[0])
    best = rest[:, :1]
    width = np.minimum(rest[2], best[2]) - np.maximum(rest[0], best[0])
    height = np.minimum(rest[3], best[3]) - np.maximum(rest[1], best[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    stays = ~(shared > overlap * (best[4] + rest[4] - shared))
    stays[0] = False
    rest, order = rest[:, stays], order[stays]
  keep = np.zeros(len(boxes), bool)
  keep[kept] = True
  return keep


def test_both_sequential_references_agree():
  for seed in range(4):
    boxes, scores = crowd(seed, 400, 20)
    np.testing.assert_array_equal(
      sweep(boxes, scores, 0.4), greedy(boxes, scores, 0.4)
    )


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [0.3, 0.4, 0.5])
def test_a_thousand_sets_of_twenty_thousand_boxes(overlap):
  kept = []
  for seed in range(1000):
    boxes, scores = crowd(seed, 20_000, (200, 1000, 5000)[seed % 3])
    expected = sweep(boxes, scores, overlap)
    keep = tiled(boxes, scores, overlap, tile=512)
    np.testing.assert_array_equal(keep, expected)
    kept.append(expected.sum())
  # Of other sizes than a tile, and few of all.
  assert 512 < np.median(kept) < 10_000


@pytest.mark.parametrize("inclusive", [False, True])
def test_equals_sequential_suppression_of_many(inclusive):
  """With more kept boxes than a tile holds."""
  boxes, scores = crowd(0, 1500, 500)
  for overlap in (0, 0.4, 0.8, 1):
    keep = tiled(boxes, scores, overlap, inclusive=inclusive, tile=256)
    expected = greedy(boxes, scores, overlap, inclusive=inclusive)
    np.testing.assert_array_equal(keep, expected)
    if 0 < overlap < 1:
      assert 256 < expected.sum() < 1500


@given(
  hnp.arrays(np.int8, (20, 4), elements=st.integers(-6, 6)),
  hnp.arrays(np.int8, 20, elements=st.integers(-2, 2)),
  hnp.arrays(bool, 20),
  st.sampled_from([0, 0.25, 1 / 3, 0.5, 1]),
  st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_any_small_boxes(boxes, scores, valid, overlap, inclusive):
  """Also those without an area, and inside out."""
  args = boxes, scores, overlap, valid, inclusive
  np.testing.assert_array_equal(tiled(*args, tile=7), greedy(*args))


def test_kept_by_hand():
  """A shift by s of 20 pixels shares 20 - s of 20 + s: 1/3 for 10."""
  boxes = [[20.0, 10, 40, 30], A, FAR]
  for overlap, first in (0.34, True), (0.33, False):
    keep = tiled(np.array(boxes), np.array([0.1, 0.5, 0.3]), overlap)
    assert keep.tolist() == [first, True, True]
  # A box that is itself suppressed suppresses nothing.
  chain = np.array([[x, 0, x + 20, 20] for x in (0.0, 8, 16)])
  assert tiled(chain, np.array([3, 2, 1]), 0.4).tolist() == [True, False, True]


def test_as_much_overlap_is_not_more():
  """Half of a square is within it: exactly 1/2, also in whole pixels."""
  boxes, scores = np.array([[0.0, 0, 8, 8], [0, 0, 8, 4]]), np.array([2, 1])
  assert tiled(boxes, scores, 0.5).tolist() == [True, True]
  below = np.nextafter(np.float32(0.5), np.float32(0))
  assert tiled(boxes, scores, below).tolist() == [True, False]
  pixels = boxes - [0, 0, 1, 1]
  assert tiled(pixels, scores, 0.5, inclusive=True).tolist() == [True, True]
  assert tiled(pixels, scores, below, inclusive=True).tolist() == [True, False]
  # Without the last pixels 3 x 7 of 7 x 7 would be less than that.
  assert tiled(pixels, scores, 0.45).tolist() == [True, True]
  assert tiled(pixels, scores, 0.45, inclusive=True).tolist() == [True, False]


def test_equal_scores_keep_the_lower_index():
  same = np.tile(np.array(A), (130, 1))
  for scores in np.zeros(130), np.where(np.arange(130) % 2, 0.0, -0.0):
    assert np.flatnonzero(tiled(same, scores, 0.5)).tolist() == [0]
  scores = np.where(np.arange(130) < 70, 0.1, 0.2)
  assert np.flatnonzero(tiled(same, scores, 0.5)).tolist() == [70]


@pytest.mark.parametrize("tile", [200, 16])
def test_a_chain_of_suppressors_as_long_as_there_are_boxes(tile):
  """Every box overlaps only the next: every second one stays."""
  left = 10.0 * np.arange(200)
  boxes = np.stack([left, 0 * left, left + 20, 0 * left + 20], 1)
  keep = tiled(boxes, -left, 0.3, tile=tile)
  np.testing.assert_array_equal(keep, np.arange(200) % 2 == 0)


@pytest.mark.parametrize("inclusive", [False, True])
def test_compiled_programs_round_like_numpy(inclusive):
  """Every pair is judged by overlaps that are about its own, to the last bit.

  A compiler that fuses products with sums gets some of them wrong.
  """
  rng = np.random.default_rng(0)
  low = rng.uniform(0, 8, (3000, 2, 2))
  boxes = np.concatenate([low, low + rng.uniform(9, 30, low.shape)], 2)
  boxes = boxes.astype(np.float32)
  first, second = boxes[:, 0].T, boxes[:, 1].T
  area = lambda x0, y0, x1, y1: (x1 - x0 + inclusive) * (y1 - y0 + inclusive)
  shared = area(
    *np.maximum(first[:2], second[:2]), *np.minimum(first[2:], second[2:])
  )
  about = shared / (area(*first) + area(*second) - shared)
  one = functools.partial(nms, inclusive=inclusive)
  run = jax.jit(jax.vmap(one, in_axes=(0, None, 0)))
  scores, kept = np.array([2.0, 1.0]), []
  for overlap in (
    np.nextafter(about, np.float32(0)),
    about,
    np.nextafter(about, np.float32(1)),
  ):
    keep = np.asarray(run(boxes, scores, overlap))
    expected = [
      greedy(pair, scores, limit, inclusive=inclusive)
      for pair, limit in zip(boxes, overlap, strict=True)
    ]
    np.testing.assert_array_equal(keep, expected)
    kept.append(keep[:, 1].mean())
  assert kept[0] < 0.1 < kept[1] and kept[2] > 0.9


def test_products_are_rounded_before_they_are_added():
  """A CPU with fused multiply-add rounds `width * height + more` only once."""
  rng = np.random.default_rng(0)
  x1, y1, more = rng.uniform(1, 9, (3, 10000)).astype(np.float32)
  program = jax.jit(
    lambda x1, y1, more: _area([0, 0, x1, y1], 0, LARGEST) + more
  )
  np.testing.assert_array_equal(program(x1, y1, more), x1 * y1 + more)


def test_rows_that_are_no_boxes():
  boxes, scores = crowd(1, 200, 10)
  expected = np.zeros(200, bool)
  expected[50:] = greedy(boxes[50:], scores[50:], 0.4)
  valid = np.arange(200) >= 50
  np.testing.assert_array_equal(tiled(boxes, scores, 0.4, valid), expected)
  for no_score in (-np.inf, np.nan):
    masked = np.where(valid, scores, no_score)
    np.testing.assert_array_equal(tiled(boxes, masked, 0.4), expected)
  for no_side in (np.inf, -np.inf, np.nan):
    masked = boxes.copy()
    masked[:50, 2] = no_side
    np.testing.assert_array_equal(tiled(masked, scores, 0.4), expected)
  assert not tiled(boxes, scores, 0.4, np.zeros(200, bool)).any()
  # The best score there is suppresses, and a worst one is suppressed.
  keep = tiled(np.array([A, A]), np.array([-1e38, np.inf]), 0.5)
  assert keep.tolist() == [False, True]
  assert tiled(np.array([A, FAR]), np.array([-1e38, np.inf]), 0.5).all()


def test_a_pixel_at_the_origin_is_kept():
  """Places that no kept box has filled yet are not pixels there."""
  boxes = np.array([A, A, [0.0, 0, 0, 0]])
  keep = tiled(boxes, np.array([3, 2, 1]), 0, inclusive=True, tile=2)
  assert keep.tolist() == [True, False, True]


def test_a_full_tile_suppresses_with_its_last_box_too():
  boxes = np.array([A, FAR, FAR, A])
  keep = tiled(boxes, np.array([4, 3, 2, 1]), 0.5, tile=2)
  assert keep.tolist() == [True, True, False, False]


def test_many_images_at_once():
  images = [crowd(seed, 150, 2 + 20 * seed) for seed in range(4)]
  boxes, scores = (np.stack(side) for side in zip(*images, strict=True))
  valid = np.arange(150) < np.array([150, 0, 64, 100])[:, None]
  several = jax.vmap(functools.partial(nms, tile=32), in_axes=(0, 0, None, 0))
  expected = [
    greedy(*image, 0.4, mask) for *image, mask in zip(boxes, scores, valid)
  ]
  for run in several, jax.jit(several):
    np.testing.assert_array_equal(run(boxes, scores, 0.4, valid), expected)


def test_it_needs_no_room_for_all_pairs():
  """20,000 boxes would need 400 MB for a mask of pairs, and 1.6 GB a float."""
  shapes = [
    jax.ShapeDtypeStruct(s, jnp.float32) for s in [(20000, 4), (20000,)]
  ]
  program = jax.jit(lambda boxes, scores: nms(boxes, scores, 0.4))
  memory = program.lower(*shapes).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 20e6


def test_halves_and_whole_numbers_are_scores_too():
  boxes = np.array([A, A, FAR])
  for dtype in jnp.bfloat16, jnp.float16, jnp.int32, jnp.uint8:
    keep = tiled(boxes, jnp.array([0, 200, 3], dtype), 0.5)
    assert keep.tolist() == [False, True, True]
  assert tiled(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)


def test_what_does_not_fit_is_refused():
  boxes, scores = np.array([A, FAR]), np.ones(2)
  with pytest.raises(ValueError, match=r"\[N, 4\], not \[2, 2\]"):
    nms(boxes[:, :2], scores, 0.5)
  with pytest.raises(ValueError, match=r"scores must be \[2\].*\[1\]"):
    nms(boxes, scores[:1], 0.5)
  with pytest.raises(ValueError, match=r"valid must be \[2\].*\[1\]"):
    nms(boxes, scores, 0.5, valid=np.ones(1, bool))
  for overlap in (-0.1, 1.1, np.nan):
    with pytest.raises(ValueError, match="overlap must lie in"):
      nms(boxes, scores, overlap)
  with pytest.raises(ValueError, match="at least 1 box"):
    nms(boxes, scores, 0.5, tile=0)
