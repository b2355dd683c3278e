"""Similarities against scikit-image, and the positions of warped pixels."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from skimage import transform

from jaxpriv.data import alignment, images, records

SIZE = 96


@hypothesis.given(seed=st.integers(0, 10**6), count=st.integers(2, 12))
@hypothesis.settings(max_examples=60, deadline=None)
def test_similarity_is_that_of_skimage(seed, count):
  rng = np.random.default_rng(seed)
  source = rng.normal(0, 40, (count, 2))
  angle, scale = rng.uniform(-3, 3), rng.uniform(0.1, 4)
  turn = np.array([[np.cos(angle), -np.sin(angle)],
                   [np.sin(angle), np.cos(angle)]])  # fmt: skip
  target = scale * source @ turn.T + rng.normal(0, 50, 2)
  target += rng.normal(0, 3, target.shape)
  actual = alignment.similarity(source, target)
  np.testing.assert_allclose(actual, _skimage(source, target), atol=1e-6)


def _skimage(source, target):
  kind = transform.SimilarityTransform
  if hasattr(kind, "from_estimate"):  # since scikit-image 0.26
    return kind.from_estimate(source, target).params[:2]
  result = kind()
  result.estimate(source, target)
  return result.params[:2]


def test_similarity_never_mirrors():
  points = alignment.arcface_template(112)
  mirrored = points * (-1, 1)
  matrix = alignment.similarity(points, mirrored)
  assert np.linalg.det(matrix[:, :2]) >= 0


def test_similarity_is_batched():
  rng = np.random.default_rng(0)
  source, target = rng.normal(size=(2, 7, 5, 2))
  stacked = alignment.similarity(source, target)
  one_by_one = [alignment.similarity(s, t) for s, t in zip(source, target)]
  np.testing.assert_allclose(stacked, one_by_one, atol=1e-12)


def test_inverse_undoes_a_matrix():
  rng = np.random.default_rng(1)
  matrix = alignment.similarity(*rng.normal(size=(2, 5, 2)))
  points = rng.normal(size=(9, 2))
  moved = alignment.transform_points(matrix, points)
  back = alignment.transform_points(alignment.invert(matrix), moved)
  np.testing.assert_allclose(back, points, atol=1e-9)


def _photograph(pixels, five=None, square=None, image_format="png", **fields):
  landmarks = np.full((26, 2), np.nan)
  if five is not None:
    landmarks[:5] = five
  image = images.open_image(images.encode(pixels, image_format))
  fields = records.record(None, landmarks=landmarks, **fields)
  square = np.full(4, np.nan) if square is None else np.array(square)
  return alignment.Photograph(image, fields, square, "test")


def _blob_image(points, size, sigma):
  """White dots on grey, brightest at the points."""
  y, x = np.mgrid[: size[1], : size[0]] + 0.5
  value = np.zeros((size[1], size[0]))
  for px, py in points:
    value += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
  return np.repeat(
    (np.clip(value, 0, 1) * 255).astype(np.uint8)[..., None], 3, 2
  )


def _centroid(gray, near, radius):
  y, x = np.mgrid[: gray.shape[0], : gray.shape[1]] + 0.5
  weight = gray * (np.hypot(x - near[0], y - near[1]) < radius)
  return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.7, 6.5])
@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_points_of_the_warped_pixels_land_on_the_template(scale, image_format):
  template = alignment.arcface_template(SIZE)
  turn = np.deg2rad(17)
  factor = scale * np.exp(1j * turn)
  five = template @ (1, 1j) * factor + (60 + 40j) * scale
  five = np.stack([five.real, five.imag], 1)
  size = (int(200 * scale), int(190 * scale))
  pixels = _blob_image(five, size, sigma=2.5 * scale)
  pose = (0.1, 0.2, turn)
  photograph = _photograph(pixels, five, image_format=image_format, pose=pose)
  framed = alignment.frame(photograph, SIZE, "landmarks")
  assert framed["image"].shape == (SIZE, SIZE, 3)
  np.testing.assert_allclose(framed["landmarks"][:5], template, atol=1e-3)
  np.testing.assert_allclose(framed["pose"], (0.1, 0.2, 0), atol=1e-6)
  gray = framed["image"][..., 0].astype(float)
  for point in template:
    centroid = _centroid(gray, point, radius=6)
    assert np.abs(centroid - point).max() < 0.5


def test_box_moves_and_grows_with_the_face():
  box = (10, 20, 30, 60)
  fields = records.record(None, box=box)
  matrix = np.array([[2.0, 0, 5], [0, 2, -7]])
  moved = alignment.move_geometry(fields, matrix)
  np.testing.assert_allclose(moved["box"], (25, 33, 65, 113))


def test_what_lies_outside_the_photograph_is_black():
  pixels = np.full((40, 40, 3), 200, np.uint8)
  photograph = _photograph(pixels, square=(-5, 0, 35, 40))
  image = alignment.frame(photograph, 80, "box")["image"]
  assert image[:, 11:].min() == 200 and image[:, :9].max() == 0


def test_fine_detail_does_not_alias_when_reduced():
  # One-pixel stripes must become flat grey, not slow waves.
  pixels = np.zeros((400, 400, 3), np.uint8)
  pixels[:, ::2] = 255
  five = alignment.arcface_template(400)
  turned = alignment.transform_points(
    np.array(
      [[np.cos(0.1), -np.sin(0.1), 20], [np.sin(0.1), np.cos(0.1), -15]]
    ),
    five,
  )
  image = alignment.frame(_photograph(pixels, turned), 100, "landmarks")[
    "image"
  ]
  middle = image[30:70, 30:70].astype(float)
  assert middle.std() < 4 and abs(middle.mean() - 127.5) < 4


def test_without_points_or_box_the_central_square_is_taken():
  pixels = np.zeros((60, 100, 3), np.uint8)
  pixels[:, 20:80] = 255
  for align in ("landmarks", "box", "centre"):
    image = alignment.frame(_photograph(pixels), 60, align)["image"]
    assert image.min() == 255
  box = _photograph(pixels, square=(0, 0, 20, 20))
  assert alignment.frame(box, 60, "centre")["image"].min() == 255
  assert alignment.frame(box, 60, "box")["image"][:, :58].max() == 0


def test_an_aligned_image_is_passed_on_bit_for_bit():
  pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
  photograph = _photograph(pixels, alignment.arcface_template(SIZE))
  framed = alignment.frame(photograph, SIZE, "landmarks")
  np.testing.assert_array_equal(framed["image"], pixels)


def test_crops_of_boxes_frame_as_measured():
  rng = np.random.default_rng(3)
  boxes, five = [], []
  for _ in range(9):
    scale, shift = rng.uniform(0.5, 3), rng.uniform(0, 100, 2)
    boxes.append(np.array([20, 30, 90, 110]) * scale + np.tile(shift, 2))
    five.append(alignment.arcface_template(112) * scale + shift)
  boxes, five = np.array(boxes), np.array(five)
  framing = alignment.measure_framing(boxes, five)
  squares = alignment.squares_of_boxes(boxes, framing)
  for square, points in zip(squares, five):
    matrix = alignment.square_matrix(square, 112)
    landed = alignment.transform_points(matrix, points)
    np.testing.assert_allclose(
      landed, alignment.arcface_template(112), atol=1e-6
    )


@pytest.mark.parametrize(
  "five, distinct",
  [
    (np.zeros((5, 2)), False),
    (np.tile([100, 200], (5, 1)), False),
    (np.full((5, 2), np.nan), False),
    (np.diag([np.inf] * 5)[:, :2], False),
    (alignment.arcface_template(9), True),
    (np.stack([np.arange(5), np.zeros(5)], 1), True),
  ],
)
def test_points_are_distinct_or_not(five, distinct):
  assert alignment.are_distinct(five) == distinct
  both = np.stack([five, alignment.arcface_template(64)])
  assert alignment.are_distinct(both).tolist() == [distinct, True]


@pytest.mark.parametrize("size", [64, 112])
def test_a_head_is_framed_about_its_face(size):
  """Its square is 1.7 of ArcFace's, 0.08 of that square higher."""
  wide = alignment.head_matrix(size)
  corners = np.array([[-0.35, -0.43], [1.35, 1.27]]) * size
  np.testing.assert_allclose(
    alignment.transform_points(wide, corners), [[0, 0], [size, size]],
    atol=1e-9,
  )  # fmt: skip
  pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
  five = alignment.arcface_template(70) + (60, 70)
  photograph = _photograph(pixels, five)
  record = alignment.frame(photograph, size, "head")
  template = alignment.template(size, "head")
  np.testing.assert_allclose(record["landmarks"][:5], template, atol=1e-3)
  assert alignment.framed_by(photograph, "head") == "head"
  # The face lies in it as in its own frame, at 1 / 1.7 of the scale.
  face = alignment.placement(photograph, size, "landmarks")
  head = alignment.placement(photograph, size, "head")
  np.testing.assert_allclose(
    alignment.matrix_scale(head) * 1.7, alignment.matrix_scale(face)
  )
  np.testing.assert_allclose(
    alignment.transform_points(head, five),
    alignment.transform_points(wide, alignment.transform_points(face, five)),
  )


def test_an_unknown_alignment_is_named():
  with pytest.raises(
    records.DataError, match="'nose'.*landmarks, head, box, cen"
  ):
    alignment.frame(_photograph(np.zeros((9, 9, 3), np.uint8)), 8, "nose")


def test_a_large_jpeg_is_decoded_small():
  pixels = np.zeros((800, 640, 3), np.uint8)
  image = images.open_image(images.encode(pixels, "jpeg"))
  assert images.decode(image, reduce=4.1).size == (160, 200)
  whole = Image.open(io.BytesIO(images.encode(pixels, "jpeg")))
  assert images.decode(whole).size == (640, 800)


def test_misfit_tells_faces_from_other_points():
  template = alignment.arcface_template(112)
  turned = alignment.transform_points(
    np.array([[0.3, -0.4, 7], [0.4, 0.3, 90]]), template
  )
  near = template + np.random.default_rng(0).normal(0, 3, (5, 2))
  mirrored = template[[1, 0, 2, 4, 3]]
  points = np.stack([template, turned, near, mirrored, template[:, ::-1]])
  misfit = alignment.misfit(points)
  np.testing.assert_allclose(misfit[:2], 0, atol=1e-6)
  assert 0 < misfit[2] < 0.2
  assert (misfit[3:] > 0.9).all() and (misfit <= 1).all()
  # By another way: singular values of the two patterns (Umeyama, 38 to 43).
  a, b = (p - p.mean(0) for p in (mirrored, template))
  u, d, v = np.linalg.svd(b.T @ a)
  sign = np.linalg.det(u) * np.linalg.det(v)
  rest = 1 - (d[0] + sign * d[1]) ** 2 / (a**2).sum() / (b**2).sum()
  np.testing.assert_allclose(misfit[3], np.sqrt(rest), rtol=1e-6)
