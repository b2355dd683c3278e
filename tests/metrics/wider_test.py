"""The protocol of WIDER FACE against its text, step by step, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.metrics import detection, wider

# A box of 10 x 10 pixels, as its ends count; x, y, w, h.
FACE = [100.0, 100, 9, 9]
OTHER = [200.0, 100, 9, 9]
NOWHERE = [500.0, 500, 9, 9]


def shifted(box, by):
  """Shares 10 - by of 10 + by columns with the box."""
  return [box[0] + by, *box[1:]]


def rows(*pairs):
  return np.array([[*box, score] for box, score in pairs]).reshape(-1, 5)


def literal(detections, ground_truth, iou=0.5):
  """The protocol in loops: image by image, threshold by threshold.

  Returns recall and precision at 1000 thresholds, and their area.
  """
  low, high = 1.0, 0.0
  for image in detections:
    for row in image:
      low, high = min(low, float(row[4])), max(high, float(row[4]))
  faces = sum(len(keep) for _, keep in ground_truth)
  totals = [[0, 0] for _ in range(1000)]
  for image, (boxes, keep) in zip(detections, ground_truth, strict=True):
    if len(image) == 0 or len(boxes) == 0:
      continue
    found, proposals, so_far = set(), 0, []
    for x, y, w, h, score in np.asarray(image, float).tolist():
      best, most = -1, -1.0
      for k, (gx, gy, gw, gh) in enumerate(np.asarray(boxes, float).tolist()):
        across = min(x + w, gx + gw) - max(x, gx) + 1
        down = min(y + h, gy + gh) - max(y, gy) + 1
        value = 0.0
        if across > 0 and down > 0:
          mine = (x + w - x + 1) * (y + h - y + 1)
          yours = (gx + gw - gx + 1) * (gy + gh - gy + 1)
          value = across * down / (mine + yours - across * down)
        if value > most:
          best, most = k, value
      if most < iou:
        proposals += 1
      elif best in set(map(int, keep)):
        proposals += 1
        found.add(best)
      scaled = (score - low) / (high - low) if high > low else 1.0
      so_far.append((scaled, proposals, len(found)))
    for t in range(1000):
      for scaled, proposals, hits in reversed(so_far):
        if scaled >= 1 - (t + 1) / 1000:
          totals[t][0] += proposals
          totals[t][1] += hits
          break
  recall = [hits / faces for _, hits in totals]
  precision = [hits / n if n else float("nan") for n, hits in totals]
  area, before = 0.0, 0.0
  for t in range(1000):
    if recall[t] > before:
      best = max(p for p in precision[t:] if p == p)
      area += (recall[t] - before) * best
      before = recall[t]
  return recall, precision, area


def scenes(seed, images, ordered=False):
  """Crowded images with all that the protocol makes a difference of."""
  rng = np.random.default_rng(seed)
  detections, ground_truth = [], []
  for _ in range(images):
    boxes = rng.integers(0, 30, (rng.integers(0, 6), 4)).astype(float)
    boxes[:, 2:] = rng.integers(-1, 12, (len(boxes), 2))  # also without width
    keep = np.flatnonzero(rng.random(len(boxes)) < 0.6)
    near = np.repeat(boxes, rng.integers(0, 4, len(boxes)), 0)
    near += rng.integers(-2, 3, near.shape) * (rng.random(near.shape) < 0.3)
    far = rng.integers(0, 30, (rng.integers(0, 3), 4))
    found = np.concatenate([near, far, near[:1]])  # the last is there twice
    score = rng.random(len(found)) * rng.choice([0.5, 1, 3]) - rng.choice(
      [0, 1]
    )
    if rng.random() < 0.3:
      score = score.round(1)
    if rng.random() < 0.2:
      found, score = found[:0], score[:0]
    order = np.argsort(-score) if ordered else rng.permutation(len(score))
    detections.append(np.column_stack([found, score])[order])
    ground_truth.append((boxes, keep))
  ground_truth.append((np.array([FACE]), [0]))  # so that there is a face
  detections.append(np.zeros((0, 5)))
  return detections, ground_truth


@given(
  st.integers(0, 10**6),
  st.integers(1, 8),
  st.booleans(),
  st.sampled_from([0.5, 0.3, 1]),
)
@settings(deadline=None, max_examples=60)
def test_equals_the_protocol_in_loops(seed, images, ordered, iou):
  detections, ground_truth = scenes(seed, images, ordered)
  curve = wider.wider_precision_recall(detections, ground_truth, iou)
  recall, precision, area = literal(detections, ground_truth, iou)
  np.testing.assert_allclose(curve.recall, recall, rtol=0, atol=1e-12)
  np.testing.assert_allclose(curve.precision, precision, rtol=0, atol=1e-12)
  assert abs(curve.average_precision - area) < 1e-9
  value = detection.wider_average_precision(detections, ground_truth, iou)
  assert isinstance(value, float) and abs(value - area) < 1e-9


def test_the_scenes_have_it_all():
  """The case tested above happens, and matters."""
  images = [scenes(seed, 8) for seed in range(20)]
  areas = [wider.wider_average_precision(*image) for image in images]
  assert 0.1 < np.mean(areas) < 0.9 and max(areas) < 1
  descending = [
    ([d[np.argsort(-d[:, 4], kind="stable")] for d in found], truth)
    for found, truth in images
  ]
  assert areas != [wider.wider_average_precision(*x) for x in descending]
  everything = [
    (found, [(boxes, np.arange(len(boxes))) for boxes, _ in truth])
    for found, truth in images
  ]
  assert areas != [wider.wider_average_precision(*x) for x in everything]


def area(detections, ground_truth, **kwargs):
  return wider.wider_average_precision(detections, ground_truth, **kwargs)


def test_right_wrong_right_by_hand():
  """Scores .9, .8, .1 are scaled to 1, .875 and 0.

  Recall 1/3 at precision 1, then 2/3 at precision 2/3; the third face is not
  found: (1 + 2/3) / 3 = 5/9.
  """
  found = [rows((FACE, 0.9), (NOWHERE, 0.8)), rows((OTHER, 0.1))]
  truth = [([FACE], [0]), ([OTHER, FACE], [0, 1])]
  assert area(found, truth) == pytest.approx(5 / 9, abs=1e-12)
  curve = wider.wider_precision_recall(found, truth)
  np.testing.assert_array_equal(curve.thresholds[[0, -1]], [0.999, 0])
  # The second counts from the threshold .875 on, the 125th; the third at 0.
  expected = np.full(1000, 1.0)
  expected[124:], expected[999] = 1 / 2, 2 / 3
  np.testing.assert_allclose(curve.precision, expected)
  np.testing.assert_allclose(curve.recall, [1 / 3] * 999 + [2 / 3])


def test_precision_is_the_best_at_that_recall_or_more():
  """Wrong, right, right of two faces: 2/3 throughout, not 1/2 and 2/3."""
  found = [rows((NOWHERE, 0.9), (FACE, 0.5), (OTHER, 0.1))]
  assert area(found, [([FACE, OTHER], [0, 1])]) == pytest.approx(2 / 3)


def test_what_belongs_to_an_ignored_box_does_not_count():
  """The first is removed: right alone remains. As background it would halve."""
  found = [rows((OTHER, 0.9), (FACE, 0.5))]
  assert area(found, [([FACE, OTHER], [0])]) == 1
  assert area(found, [([FACE], [0])]) == pytest.approx(1 / 2)
  # The ignored box is the nearer one, though a wanted face is near enough:
  # 8/12 of FACE, all of the other.
  found = [rows((shifted(FACE, 2), 0.9), (NOWHERE, 0.5))]
  truth = [FACE, shifted(FACE, 2)]
  assert area(found, [(truth, [0])]) == 0
  assert area(found, [(truth, [1])]) == 1
  # The first of equally near ones is taken.
  assert area(found, [([truth[1], truth[1]], [0])]) == 1
  assert area(found, [([truth[1], truth[1]], [1])]) == 0


def test_a_second_detection_of_a_face_is_false():
  """Right, false, right of two faces: (1 + 2/3) / 2."""
  found = [rows((FACE, 0.9), (shifted(FACE, 1), 0.5), (OTHER, 0.1))]
  truth = [([FACE, OTHER], [0, 1])]
  assert area(found, truth) == pytest.approx(5 / 6, abs=1e-12)
  # As often as one likes, on an ignored box.
  assert area(found, [([FACE, OTHER], [1])]) == 1


def test_both_ends_of_a_side_count():
  """7 of 9 + 3 columns would be 7/11 < .65, but 8 of 10 + 2 are 2/3."""
  found, truth = [rows((shifted(FACE, 2), 0.9))], [([FACE], [0])]
  assert area(found, truth, iou=0.65) == 1
  assert area(found, truth, iou=0.67) == 0
  # One pixel, of no width, is all of itself, and as much as `iou` is enough.
  pixel = [3.0, 3, 0, 0]
  assert area([rows((pixel, 0.9))], [([pixel], [0])], iou=1) == 1
  # Two columns of a pixel share half with one.
  assert area([rows(([3.0, 3, 1, 0], 0.9))], [([pixel], [0])], iou=0.5) == 1
  nothing = [3.0, 3, -1, 9]
  assert area([rows((nothing, 0.9))], [([nothing], [0])], iou=0.01) == 0
  # A column of 10 pixels is a tenth of FACE, whatever a box inside out, of
  # -10 pixels, makes of their union.
  found, turned = [rows(([*FACE[:2], 0, 9], 0.9))], [0, 0, -2, 9]
  assert area(found, [([turned, FACE], [1])], iou=0.1) == 1


def test_images_without_detections_and_without_wanted_faces():
  none, wanted = np.zeros((0, 5)), ([FACE], [0])
  found = [rows((FACE, 0.5), (FACE, 0.1))]
  assert area([*found, none], [wanted, wanted]) == pytest.approx(1 / 2)
  assert area([*found, none], [wanted, ([FACE, OTHER], [])]) == 1
  # A false detection with the best score, where nobody is wanted, counts...
  strange = [*found, rows((NOWHERE, 0.9))]
  assert area(strange, [wanted, ([OTHER], [])]) == pytest.approx(1 / 2)
  # ...unless there is no box at all, but its score is one of the whole set.
  assert area(strange, [wanted, ([], [])]) == 1
  curve = wider.wider_precision_recall(strange, [wanted, ([], [])])
  assert np.isnan(curve.precision[:499]).all()
  assert curve.precision[499] == 1  # (.5 - .1) / (.9 - .1) = 1/2 = 1 - 500/1000
  assert area([none, []], [wanted, wanted]) == 0


def test_rows_count_in_the_order_given():
  """Up to the last that reaches a threshold: a false one before it counts.

  Ascending, the face comes second: precision 1/2, at every threshold. In the
  order of scores it would be 1.
  """
  truth = [([FACE], [0])]
  ascending = rows((NOWHERE, 0.1), (FACE, 0.9))
  assert area([ascending], truth) == pytest.approx(1 / 2)
  assert area([ascending[::-1]], truth) == 1
  # The first of two detections takes the face, though its score is lower; it
  # is found before the false ones between them, at the score of the later.
  between = rows((FACE, 0.1), (NOWHERE, 0.2), (FACE, 0.9))
  curve = wider.wider_precision_recall([between], truth)
  np.testing.assert_allclose(curve.precision, 1 / 3)
  np.testing.assert_allclose(curve.recall, 1)


def test_scores_are_scaled_by_the_whole_set():
  """Least, but at most 1, and greatest, but at least 0."""
  truth = [([FACE], [0])]

  def first_counted(*scores):
    found = [rows(*((FACE, score) for score in scores))]
    curve = wider.wider_precision_recall(found, truth)
    return curve.thresholds[np.isfinite(curve.precision)][0]

  assert first_counted(-1, -2) == 0.5  # (-1 - -2) / (0 - -2)
  assert first_counted(-3, -4) == 0.25
  assert first_counted(3, 2) == 0.999
  # (2 - 1) / (3 - 1) = 1/2: in an image of its own, which comes first.
  found = [rows((FACE, 2)), rows((FACE, 3), (NOWHERE, 3))]
  truth = [([FACE], [0]), ([OTHER], [])]
  curve = wider.wider_precision_recall(found, truth)
  assert curve.recall.tolist() == [0] * 499 + [1] * 501
  # In between 2 and 3 there would be nothing to find before the threshold 0.
  assert curve.average_precision == pytest.approx(1 / 3)


def test_thresholds_to_the_last_bit():
  """Scores at the thresholds, some of which rounding puts beside them."""
  scores = np.arange(1000, -1, -1) / 1000
  found = [rows(*((NOWHERE, score) for score in scores))]
  found[0][::7, :4] = FACE
  truth = [([FACE, OTHER], [0])]
  curve = wider.wider_precision_recall(found, truth)
  _, precision, _ = literal(found, truth)
  np.testing.assert_allclose(curve.precision, precision, rtol=1e-12)


@pytest.mark.parametrize("score", [0, 0.7, 1, 5, -5])
def test_equal_scores_are_one_point(score):
  """Right, wrong, of two faces: recall 1/2 at precision 1/2."""
  found = [rows((FACE, score)), rows((NOWHERE, score))]
  truth = [([FACE], [0]), ([OTHER], [0])]
  assert area(found, truth) == pytest.approx(1 / 4)
  curve = wider.wider_precision_recall(found, truth)
  assert curve.precision[-1] == 1 / 2
  if score >= 0:
    assert (curve.precision == 1 / 2).all()


def test_what_is_no_detection_or_face_is_refused():
  good, truth = rows((FACE, 0.5)), ([FACE, OTHER], [1])

  def refused(message, found=good, truth=truth, **kwargs):
    images = [good, good, found], [([FACE], [0])] * 2 + [truth]
    with pytest.raises(ValueError, match=message):
      wider.wider_average_precision(*images, **kwargs)

  for bad in (np.nan, np.inf):
    refused("image 2, detections: a number is not", rows((FACE, bad)))
    refused(
      "image 2, detections: a number is not", rows((bad * good[0, :4], 1))
    )
    refused("image 2, boxes: a number is not", truth=([[bad, 1, 1, 1]], [0]))
  refused(r"image 2, detections must be \[N, 5\], not \[1, 4\]", [FACE])
  refused(r"image 2, boxes must be \[N, 4\], not \[1, 5\]", truth=(good, [0]))
  refused(r"image 2, boxes must be \[N, 4\], not \[4\]", truth=(FACE, [0]))
  refused(
    "image 2: .* from 0 to 1, .* 1 to 2; .* count from 1",
    truth=(truth[0], [1, 2]),
  )
  refused("image 2: .* from 0 to 1, .* -1 to 0", truth=(truth[0], [0, -1]))
  refused("image 2: .* name a box twice", truth=(truth[0], [1, 0, 1]))
  refused("image 2: .* integers", truth=(truth[0], [0.0]))
  refused("image 2: .* integers", truth=(truth[0], [True, False]))
  refused("image 2: .* integers", truth=(truth[0], [[0, 1]]))
  for iou in (0, 1.1, np.nan):
    refused("iou must be", iou=iou)
  with pytest.raises(ValueError, match="1 images of detections, 2 of faces"):
    wider.wider_average_precision([good], [truth, truth])
  with pytest.raises(ValueError, match="without a wanted face"):
    wider.wider_average_precision([good], [([FACE], [])])


def test_arguments_stay_as_they_are():
  """Scores are scaled in a copy, and any kind of integer is an index."""
  found, boxes = rows((FACE, 0.5), (FACE, 0.2)), np.array([FACE])
  before = found.copy()
  for dtype in (np.uint8, np.uint16, np.int64):
    assert area([found], [(boxes, np.zeros(1, dtype))]) == 1
  np.testing.assert_array_equal(found, before)
