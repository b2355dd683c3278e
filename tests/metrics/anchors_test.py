"""Anchors: where they lie, their offsets, and which face each is to find."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.metrics import anchors as lib
from jaxpriv.metrics.anchors import decode, encode, grid, match


def loops(height, width, sizes, steps=(8, 16, 32)):
  rows = []
  each = len(sizes) // len(steps)
  for level, step in enumerate(steps):
    for i in range(int(np.ceil(height / step))):
      for j in range(int(np.ceil(width / step))):
        for side in sizes[level * each : level * each + each]:
          rows.append(((j + 0.5) * step, (i + 0.5) * step, side, side))
  return np.array(rows, np.float32)


@pytest.mark.parametrize("height, width", [(64, 64), (40, 72), (33, 8)])
def test_anchors_lie_in_the_middle_of_cells(height, width):
  sizes = (10, 20, 33.5, 50, 70, 90)
  np.testing.assert_array_equal(
    grid(height, width, sizes), loops(height, width, sizes)
  )
  one = grid(height, width, (9,), (4,))
  np.testing.assert_array_equal(one, loops(height, width, (9,), (4,)))


def test_there_are_as_many_as_published():
  assert len(grid(640, 640)) == 16_800 and len(grid(840, 840)) == 29_126


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((64, 64, (8, 16)), "2 sizes of anchors for 3 levels"),
    ((64, 64, ()), "0 sizes"),
    ((0, 64), "positive"),
    ((64, 64, (8, 16, -1)), "positive"),
  ],
)
def test_grids_that_cannot_be_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    grid(*arguments)


def test_corners_are_half_a_side_from_the_centre():
  np.testing.assert_array_equal(lib.corners(ANCHORS), sides_of(ANCHORS))


def test_offsets_by_hand():
  anchor = np.array([100.0, 50, 20, 20])
  box = np.array([92.0, 45, 132, 65])  # centre 112, 55; 40 by 20
  expected = [12 / 2, 5 / 2, np.log(2) / 0.2, 0]
  np.testing.assert_allclose(encode(anchor, box), expected, rtol=1e-5)
  points = np.array([[100.0, 50], [104, 48]])
  np.testing.assert_allclose(
    lib.encode_points(anchor, points), [0, 0, 2, -1], atol=1e-6
  )


def test_decoding_inverts_encoding():
  rng = np.random.default_rng(0)
  low = rng.uniform(0, 90, (7, 2))
  boxes = np.concatenate([low, low + rng.uniform(1, 60, (7, 2))], 1)
  anchors = grid(64, 64)[rng.integers(0, 100, 7)]
  np.testing.assert_allclose(
    decode(anchors, encode(anchors, boxes)), boxes, atol=1e-3
  )
  points = rng.uniform(0, 99, (7, 5, 2))
  offsets = lib.encode_points(anchors, points)
  assert offsets.shape == (7, 10)
  np.testing.assert_allclose(
    lib.decode_points(anchors, offsets), points, atol=1e-3
  )


def overlap_of(a, b):
  """Intersection over union of two boxes, x0 y0 x1 y1."""
  wide = min(a[2], b[2]) - max(a[0], b[0])
  high = min(a[3], b[3]) - max(a[1], b[1])
  if wide <= 0 or high <= 0:
    return 0.0
  shared = wide * high
  area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
  return shared / (area(a) + area(b) - shared)


def sides_of(anchors):
  """Anchors as boxes x0 y0 x1 y1, as `corners` gives them."""
  anchors = np.asarray(anchors, np.float64).tolist()
  return [
    (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in anchors
  ]


def reference(anchors, boxes, valid, positive=0.35, least=0.2):
  """`match` by loops: (face of each anchor, anchor of each face)."""
  sides = sides_of(anchors)
  faces = [i for i in range(len(boxes)) if valid[i]]
  overlap = {(i, a): overlap_of(boxes[i], s)
             for i in faces for a, s in enumerate(sides)}  # fmt: skip
  found = [-1] * len(anchors)
  for a in range(len(anchors)):
    best = max(faces, key=lambda i: overlap[i, a], default=None)
    if best is not None and overlap[best, a] >= positive:
      found[a] = best
  enough = {
    i: [a for a in range(len(anchors)) if overlap[i, a] >= least] for i in faces
  }
  turns = sorted((i for i in faces if enough[i]), key=lambda i: len(enough[i]))
  own = {}
  for i in turns:
    best = max(enough[i], key=lambda a: overlap[i, a])
    if best not in own.values():
      own[i] = best
  for i in turns:
    left = [a for a in enough[i] if a not in own.values()]
    if i not in own and left:
      own[i] = max(left, key=lambda a: overlap[i, a])
  for i, a in own.items():
    found[a] = i
  return np.array(found), own


def scene(seed, count=6, side=64):
  """Faces that lie close together, some of them no faces."""
  rng = np.random.default_rng(seed)
  size = rng.uniform(6, 30, (count, 2))
  low = rng.uniform(0, side / 2, (count, 2))
  valid = rng.random(count) < 0.8
  # float32, in which ties of the two computations are ties.
  return np.concatenate([low, low + size], 1).astype(np.float32), valid


ANCHORS = grid(64, 64, (12, 18, 26, 38, 54, 76))
MATCH = jax.jit(lambda boxes, valid: match(ANCHORS, boxes, valid))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_matches_are_those_of_loops(seed):
  boxes, valid = scene(seed)
  found = np.asarray(MATCH(boxes, valid))
  expected, _ = reference(ANCHORS, boxes, valid)
  np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_face_keeps_an_anchor_where_one_is_left(seed):
  boxes, valid = scene(seed)
  found = np.asarray(MATCH(boxes, valid))
  overlap = [[overlap_of(b, s) for s in sides_of(ANCHORS)] for b in boxes[:2]]
  for i in range(2):
    enough = np.flatnonzero(np.array(overlap[i]) >= 0.2 + 1e-6)
    if valid[i] and len(enough) >= len(boxes):
      assert (found == i).any()
    if not valid[i]:
      assert not (found == i).any()


def test_images_are_matched_at_once_as_one_by_one():
  both = [scene(seed) for seed in (3, 4)]
  boxes, valid = (np.stack(x) for x in zip(*both))
  together = jax.vmap(MATCH)(boxes, valid)
  for row, pair in zip(together, both):
    np.testing.assert_array_equal(row, MATCH(*pair))


FEW = jax.jit(match, static_argnames=("positive", "least"))


def by_hand(anchors, boxes, *valid, **thresholds):
  """Faces of few anchors as a list; all boxes are faces by default."""
  valid = np.array(valid or [True] * len(boxes))
  return FEW(anchors, boxes, valid, **thresholds).tolist()


def line(*places, side=10.0):
  """Anchors of one side, in a row."""
  return np.array([(x, 0, side, side) for x in places], np.float32)


def boxes_at(*places, side=10.0):
  return lib.corners(line(*places, side=side))


def test_a_later_face_does_not_take_the_anchor_of_an_earlier_one():
  anchors = line(0, 8)
  # Both overlap the first anchor most; the second face has another left.
  boxes = boxes_at(0, 3)
  assert by_hand(anchors, boxes) == [0, 1]
  assert by_hand(anchors, boxes[::-1]) == [1, 0]
  assert by_hand(anchors, boxes, True, False) == [0, -1]


def test_a_face_that_overlaps_too_little_takes_no_anchor():
  # The second overlaps the anchor by 3 / 17, then by a little more than 0.2.
  assert by_hand(line(0, 100), boxes_at(0, 7)) == [0, -1]
  boxes = boxes_at(0, 20 / 3 - 1e-3)
  assert by_hand(line(0), boxes) == [0]  # alike in number: the earlier face
  assert by_hand(line(0, 1), boxes) == [0, 1]


def test_an_anchor_that_nobody_else_claims_stays_with_its_face():
  # Faces 0 and 1 want the first, and the other is all that is left for one.
  assert by_hand(line(0, 4), boxes_at(0, 1, 4))[1] == 2


def test_the_face_with_fewest_anchors_comes_first():
  # Both want the second anchor, and the first is near enough to face 0 alone.
  assert by_hand(line(-6, 0), boxes_at(-0.5, 2)) == [0, 1]


def test_those_left_choose_in_the_same_order():
  # All want the anchor at 0. Only that one is near enough to face 2, one more
  # to face 1, and both others to face 0: had 0 chosen first, 1 would have none.
  anchors = line(-6.8, 0, -7.3)
  boxes = boxes_at(-0.9, -0.3, 0)
  overlap = np.array(
    [[overlap_of(b, s) for s in sides_of(anchors)] for b in np.asarray(boxes)]
  )
  assert overlap.argmax(1).tolist() == [1, 1, 1]
  assert (overlap >= 0.2).sum(1).tolist() == [3, 2, 1]
  assert by_hand(anchors, boxes) == [1, 2, 0]


def test_thresholds_are_as_said():
  anchors = line(0, 5)  # the second overlaps the face by a third
  assert by_hand(anchors, boxes_at(0)) == [0, -1]
  assert by_hand(anchors, boxes_at(0), positive=0.33) == [0, 0]
  apart = boxes_at(6.2)  # overlaps by 0.23
  assert by_hand(line(0), apart) == [0]
  assert by_hand(line(0), apart, least=0.3) == [-1]


def test_no_face_and_no_area_are_found_by_none():
  boxes = np.array([[0, 0, 0, 0], [-5, -5, 5, 5], [3, 3, 3, 9]], np.float32)
  assert by_hand(line(0, 3), boxes, True, False, True) == [-1, -1]


@pytest.mark.parametrize(
  "boxes, valid, options",
  [
    (np.zeros((0, 4)), np.zeros(0, bool), {}),
    (np.zeros((2, 4)), np.zeros(3, bool), {}),
    (np.zeros((2, 5)), np.zeros(2, bool), {}),
    (np.zeros((2, 4)), np.zeros(2, bool), dict(positive=0)),
    (np.zeros((2, 4)), np.zeros(2, bool), dict(least=1.2)),
  ],
)
def test_what_cannot_be_matched_is_refused(boxes, valid, options):
  with pytest.raises(ValueError, match="overlaps must|boxes must"):
    match(line(0), boxes, valid, **options)
