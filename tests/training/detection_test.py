"""All faces of a photograph are found: near, small, turned, and none twice."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, images, labels, landmarks
from jaxpriv.metrics import detection as overlaps
from jaxpriv.training import detection, witnesses

SMALLEST = 26  # of the 256 px of a look


@pytest.mark.parametrize("size", ((500, 375), (375, 500), (900, 900),
                                  (2000, 300)))  # fmt: skip
@pytest.mark.parametrize("level", (0, 1, 2))
def test_windows_cover_a_photograph_and_overlap_by_half(size, level):
  squares = detection.windows(size, level)
  sides = squares[:, 2:] - squares[:, :2]
  np.testing.assert_allclose(sides, sides[0, 0])
  assert (
    sides[0, 0] == max(size)
    if not level
    else (sides[0, 0] <= max(size) / 2**level)
  )
  if level:
    assert (squares[:, :2] >= -1e-9).all()
    assert (squares[:, 2:] <= np.array(size) + 1e-9).all()
  # A face of half a window's side is whole in one of them, wherever it is.
  half = min(sides[0, 0] / 2, *size)
  for corner in np.random.default_rng(0).uniform(0, 1, (200, 2)):
    low = corner * (np.array(size) - half)
    inside = (squares[:, :2] <= low + 1e-9) & (
      low + half <= squares[:, 2:] + 1e-9
    )
    assert inside.all(1).any()


@pytest.fixture
def green(monkeypatch):
  """Green squares are faces, unless they are small where one looks.

  Returns the number of windows that are looked through, in a list.
  """
  looked = []

  def look(params, pixels):
    del params
    looked.append(int((pixels.max((1, 2, 3)) > 0).sum()))
    places = np.zeros((len(pixels), 2, 12), np.float32)
    scores = np.zeros((len(pixels), 2), np.float32)
    for i, picture in enumerate(pixels.astype(int)):
      mask = (picture[..., 1] > 180) & (picture[..., 0] < 90)
      if not mask.any():
        continue
      y, x = np.nonzero(mask)
      x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
      if min(x1 - x0, y1 - y0) < SMALLEST:
        continue
      five = alignment.arcface_template(1) * (x1 - x0, y1 - y0) + (x0, y0)
      four = np.concatenate([five[:3], five[3:].mean(0)[None]])
      places[i] = np.array([x0, y0, x1, y1, *four.ravel()]) / 256
      # Twice, a little apart, as a detector does.
      places[i, 1, :4] += 0.004
      scores[i] = 0.9, 0.8
    return places, scores

  def mark(marker, pictures, boxes):
    del marker, pictures
    return [_sixty_eight(of) for of in boxes]

  monkeypatch.setattr(detection, "_look", look)
  monkeypatch.setattr(detection, "_mark", mark)
  return looked


def _sixty_eight(boxes):
  """Points [N, 68, 2] whose five are at the template's places."""
  points = np.zeros((len(boxes), 68, 2))
  for i, (x0, y0, x1, y1) in enumerate(boxes):
    five = alignment.arcface_template(1) * (x1 - x0, y1 - y0) + (x0, y0)
    for indices, point in zip(
      (range(36, 42), range(42, 48), (30,), (48,), (54,)), five
    ):
      points[i, list(indices)] = point
  return points


def _picture(size, box):
  image = Image.new("RGB", size, (200, 60, 60))
  image.paste((0, 250, 0), box)
  return image


def _find(photographs, threshold=0.5):
  detector = witnesses.Witness("blazeface", {})
  return detection.find(
    detector, witnesses.Witness("landmarks", {}), photographs, threshold
  )


def test_a_near_face_takes_one_look(green):
  (faces,) = _find([_picture((600, 400), (200, 100, 350, 250))])
  assert sum(green) == 1 and len(faces.boxes) == 1
  assert overlaps.iou(faces.boxes[0], (200, 100, 350, 250)) > 0.95
  assert faces.scores[0] == pytest.approx(0.9)


def test_a_small_face_is_found_through_a_window(green):
  box = (600, 500, 640, 540)  # 10 of the 256 px of one look
  near = (100, 100, 500, 500)
  small, other = _find(
    [_picture((1000, 800), box), _picture((1000, 800), near)]
  )
  assert len(small.boxes) == 1 and len(other.boxes) == 1
  assert overlaps.iou(small.boxes[0], box) > 0.8
  assert green[0] == 2 and sum(green) > 10


def test_a_large_photograph_is_measured_in_its_own_pixels(green, tmp_path):
  """Also of a JPEG, which is decoded at a fraction of its size, and turned."""
  box = (500, 900, 1700, 2100)
  upright = _picture((4400, 3000), box)
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by a quarter, clockwise
  upright.transpose(Image.Transpose.ROTATE_90).save(
    tmp_path / "turned.jpg", exif=exif
  )
  upright.save(tmp_path / "plain.jpg")
  opened = [
    images.open_image(tmp_path / f"{n}.jpg") for n in ("turned", "plain")
  ]
  for faces in _find(opened):
    assert len(faces.boxes) == 1
    assert overlaps.iou(faces.boxes[0], box) > 0.95
    five = landmarks.standard_landmarks(faces.landmarks)[0, :5]
    template = alignment.arcface_template(1) * 1200 + (500, 900)
    np.testing.assert_allclose(five, template, atol=30)


def test_both_networks_have_to_agree(green, monkeypatch):
  photograph = _picture((600, 400), (200, 100, 350, 250))
  apart = lambda share: (
    lambda marker, pictures, boxes: [
      _sixty_eight(of) + share * 150 for of in boxes
    ]
  )
  agreed = detection.AGREE / np.sqrt(2)  # along both axes
  for share, count in ((0.8 * agreed, 1), (1.2 * agreed, 0)):
    monkeypatch.setattr(detection, "_mark", apart(share))
    (faces,) = _find([photograph])
    assert len(faces.boxes) == count


def test_thresholds(green):
  photograph = _picture((600, 400), (200, 100, 350, 250))
  for threshold, count in ((0.85, 1), (0.95, 0)):
    (faces,) = _find([photograph], threshold)
    assert len(faces.boxes) == count


def test_what_cannot_be_decoded_is_none(green, tmp_path):
  path = tmp_path / "a.png"
  _picture((300, 300), (50, 50, 200, 200)).save(path)
  path.write_bytes(path.read_bytes()[:200])
  broken, whole = _find(
    [images.open_image(path), _picture((300, 300), (50, 50, 200, 200))]
  )
  assert broken is None and len(whole.boxes) == 1


@pytest.mark.faces
@pytest.mark.networks
def test_group_photographs(faces):
  """Forty faces and more, and nothing else."""
  rows = labels.read_rows(faces / "labels.csv", ("dlib_groups",))
  names = sorted({row["file"] for row in rows})
  detector, marker = (witnesses.load(n) for n in ("blazeface", "landmarks"))
  opened = [images.open_image(faces / name) for name in names]
  hits = count = 0
  for name, found in zip(names, detection.find(detector, marker, opened)):
    truth = np.array([labels.extent(r) for r in rows if r["file"] == name])
    shared = overlaps.iou(truth[:, None], found.boxes[None])
    hits += (shared.max(1, initial=0) >= 0.5).sum()
    count += len(found.boxes)
  assert hits >= 39 and count - hits <= 1


def test_points_that_are_no_face_are_none():
  """Both networks may agree on an eye, or on a face seen in a mirror."""
  five = alignment.arcface_template(60)
  both = np.stack([five, five[[1, 0, 2, 4, 3]]])
  points = np.zeros((2, 68, 2), np.float32)
  for to, where in enumerate(
    ((36, 42), (42, 48), (30, 31), (48, 49), (54, 55))
  ):
    points[:, slice(*where)] = both[:, None, to]
  boxes = np.array([[0.0, 0, 60, 60]] * 2)
  theirs = np.concatenate([both[:, :3], both[:, 3:].mean(1)[:, None]], 1)
  faces = detection.Faces(boxes, np.array([0.9, 0.9]), points)
  kept = detection._agreed(faces, theirs.reshape(2, -1), 2.0)
  np.testing.assert_allclose(kept.landmarks, points[:1] * 2)
