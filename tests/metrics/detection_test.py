"""Suppression and average precision against cases worked out by hand."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxpriv.metrics import detection

FACE = [10.0, 10, 30, 30]
FAR = [50.0, 50, 70, 70]


def moved(box, by):
  return [box[0] + by, box[1], box[2] + by, box[3]]


def _pairs(a, b, xp=np):
  return detection.iou(xp.asarray(a)[:, None], xp.asarray(b)[None])


compiled = jax.jit(detection.iou)


def test_overlaps_of_all_pairs():
  overlaps = _pairs([FACE], [FACE, FAR, moved(FACE, 10)])
  np.testing.assert_allclose(overlaps, [[1, 0, 1 / 3]])
  assert overlaps.dtype == np.float64
  assert detection.iou(FACE, moved(FACE, 10)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("side", [1e-140, 1e-8, 1e140])
def test_boxes_of_any_size_overlap_themselves(side):
  box = [[0.0, 0.0, side, side]]
  half = [[0.0, 0.0, side, side / 2]]
  np.testing.assert_allclose(_pairs(box, box), [[1]])
  np.testing.assert_allclose(_pairs(box, half), [[0.5]])
  none = [[3.0, 3.0, 3.0, 3.0]]
  assert _pairs(none, none) == 0


@pytest.mark.parametrize("xp", [np, jnp])
def test_overlap_by_counting_pixels(xp):
  rng = np.random.default_rng(0)
  for _ in range(20):
    a, b = np.sort(rng.integers(0, 30, (2, 2, 2)), 1).reshape(2, 4)
    inside = np.zeros((2, 30, 30), bool)
    for mask, (x0, y0, x1, y1) in zip(inside, (a, b), strict=True):
      mask[y0:y1, x0:x1] = True
    union = (inside[0] | inside[1]).sum()
    expected = (inside[0] & inside[1]).sum() / max(union, 1)
    overlaps = detection.iou(xp.asarray(a), xp.asarray(b))
    np.testing.assert_allclose(overlaps, expected, atol=1e-6)


@hypothesis.given(
  hnp.arrays(np.float64, (5, 4), elements=st.floats(-50, 50, width=32))
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_overlap_is_symmetric_bounded_and_alike_in_both(boxes):
  overlaps = _pairs(boxes, boxes)
  assert ((overlaps >= 0) & (overlaps <= 1 + 1e-12)).all()
  np.testing.assert_array_equal(overlaps, overlaps.T)
  area = (boxes[:, 2:] > boxes[:, :2]).all(1)
  big = area & ((boxes[:, 2:] - boxes[:, :2]).min(1) > 1e-6)
  np.testing.assert_allclose(np.diag(overlaps)[big], 1)
  # Padding has no area, and overlaps nothing.
  assert (_pairs(boxes, np.zeros((1, 4)))[~area] == 0).all()
  large = (boxes[:, 2:] - boxes[:, :2]).min(1) > 0.1
  # All of them, whose shapes are always the same, or each is compiled anew.
  other = _pairs(boxes, boxes, jnp)
  assert isinstance(other, jax.Array)
  traced = compiled(boxes[:, None], boxes[None])
  both = np.ix_(large, large)
  np.testing.assert_allclose(np.asarray(other)[both], overlaps[both], atol=1e-3)
  np.testing.assert_allclose(
    np.asarray(traced)[both], np.asarray(other)[both], atol=1e-6
  )


def test_no_boxes_overlap_none():
  none, some = np.zeros((0, 4)), np.array([FACE, FAR])
  for xp in (np, jnp):
    assert _pairs(none, some, xp).shape == (0, 2)
  assert compiled(none[:, None], none[None]).shape == (0, 0)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_what_is_unknown_overlaps_nothing(xp, what):
  unknown = xp.full(4, what)
  assert detection.iou(unknown, xp.ones(4)) == 0
  assert detection.iou(xp.asarray(FACE), unknown) == 0


def test_suppression_keeps_the_best_of_each_place():
  boxes = [moved(FACE, 2), FACE, FAR, moved(FACE, 9)]
  result = detection.suppress(boxes, [0.3, 0.9, 0.5, 0.2], overlap=0.3)
  np.testing.assert_allclose(result[:, 4], [0.9, 0.5])
  # The box moves towards the one that overlaps it by more than half, weighted
  # by their scores.
  x0 = (0.9 * 10 + 0.3 * 12) / 1.2
  np.testing.assert_allclose(result[0, :4], [x0, 10, x0 + 20, 30])
  np.testing.assert_allclose(result[1, :4], FAR)


def test_nothing_is_kept_of_nothing():
  assert detection.suppress(np.zeros((0, 4)), np.zeros(0)).shape == (0, 5)


def test_average_precision_by_hand():
  """Right, wrong, right, of three faces: (1 + 2/3) / 3."""
  detections = [
    np.array([[*FACE, 0.9], [*moved(FAR, 15), 0.8]]),
    np.array([[*FAR, 0.7]]),
  ]
  truth = [np.array([FACE]), np.array([FAR, FACE])]
  assert detection.average_precision(detections, truth) == pytest.approx(5 / 9)


def test_a_face_counts_once():
  detections = [np.array([[*FACE, 0.9], [*moved(FACE, 1), 0.8]])]
  assert detection.average_precision(detections, [np.array([FACE])]) == 1
  twice = [np.array([[*FACE, 0.9], [*moved(FACE, 1), 0.95]])]
  assert detection.average_precision(twice, [np.array([FACE])]) == 1
  late = [np.array([[*FAR, 0.9], [*FACE, 0.8]])]
  assert detection.average_precision(late, [np.array([FACE])]) == 0.5


def test_overlap_decides():
  third = [np.array([[*moved(FACE, 10), 0.9]])]
  truth = [np.array([FACE])]
  assert detection.average_precision(third, truth) == 0
  assert detection.average_precision(third, truth, overlap=0.3) == 1


def test_images_without_faces_or_detections():
  detections = [
    np.zeros((0, 5)),
    np.array([[*FACE, 0.9]]),
    np.array([[*FAR, 0.5]]),
  ]
  truth = [np.array([FACE]), np.zeros((0, 4)), np.array([FAR])]
  assert detection.average_precision(detections, truth) == pytest.approx(0.25)
  with pytest.raises(ValueError, match="without a face"):
    detection.average_precision(detections[:1], [np.zeros((0, 4))])
  with pytest.raises(ValueError, match="3 images of detections, 1 of faces"):
    detection.average_precision(detections, truth[:1])


def test_precision_is_the_best_at_that_recall_or_more():
  """Wrong, right, right of two faces: 2/3 at both, not 1/2 and 2/3."""
  detections = [np.array([[*moved(FAR, 30), 0.9], [*FACE, 0.8], [*FAR, 0.7]])]
  truth = [np.array([FACE, FAR])]
  assert detection.average_precision(detections, truth) == pytest.approx(2 / 3)


def test_detections_that_tie_count_together():
  """Two of four are right, whatever their order."""
  rows = [[*FACE, 0.5], [*FAR, 0.5], [*moved(FACE, 40), 0.5], [*FAR, 0.5]]
  rows[3][1] += 30
  truth = [np.array([FACE, FAR])]
  for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
    detections = [np.array(rows)[order]]
    assert detection.average_precision(detections, truth) == 0.5
    # One detection per image, in any order of images.
    apart = [np.array([rows[i]]) for i in order]
    faces = [np.array([[FACE, FAR, FACE, FACE][i]]) for i in order]
    faces = [f if i < 2 else f + 200 for f, i in zip(faces, order, strict=True)]
    assert detection.average_precision(apart, faces) == 0.25


def test_hits_before_too_much_is_wrong():
  """Right, wrong, right, right: 3 of 4 is enough for 0.75 and not for 0.8."""
  rows = [[*FACE, 0.9], [*moved(FAR, 30), 0.8], [*FAR, 0.7]]
  detections = [np.array(rows), np.array([[*FACE, 0.6]])]
  truth = [np.array([FACE, FAR]), np.array([FACE])]
  hits = detection.hits_at_precision
  assert hits(detections, truth, 0.75) == 3
  assert hits(detections, truth, 0.8) == 1
  assert hits(detections, truth, 0.8, overlap=0.999) == 1
  assert hits([np.array([rows[1]]), detections[1][:0]], truth, 0.1) == 0
  # Those of one score are taken together.
  tied = [np.array([[*FACE, 0.5], [*moved(FAR, 30), 0.5]])]
  assert hits(tied, truth[:1], 0.8) == 0 and hits(tied, truth[:1], 0.5) == 1


@pytest.mark.parametrize("score", [np.inf, -np.inf])
def test_infinite_scores_tie_too(score):
  truth = [np.array([FACE])]
  for rows in ([FACE, FAR], [FAR, FACE]):
    detections = [np.array([[*box, score] for box in rows])]
    assert detection.average_precision(detections, truth) == 0.5


def test_the_better_place_of_a_tie_takes_the_face():
  near, far = [*moved(FACE, 1), 0.5], [*moved(FACE, 5), 0.5]
  truth = [np.array([FACE])]
  for rows in ([near, far], [far, near]):
    detections = [np.array([*rows, [*FAR, 0.1]])]
    assert detection.average_precision(detections, truth) == 0.5


def test_what_is_no_number_is_refused():
  bad, good = np.array([[*FACE, np.nan]]), np.array([FACE])
  with pytest.raises(ValueError, match="image 1, detections"):
    detection.average_precision([np.zeros((0, 5)), bad], [good, good])
  with pytest.raises(ValueError, match="image 0, faces"):
    detection.average_precision([np.zeros((0, 5))], [good * np.nan])
  with pytest.raises(ValueError, match="not finite"):
    detection.suppress([FACE, [0, 0, np.inf, 1]], [0.1, 0.2])
  with pytest.raises(ValueError, match="score is nan"):
    detection.suppress([FACE, FAR], [0.1, np.nan])
