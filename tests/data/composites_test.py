"""Composites show what their labels say, and depend on a number alone."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from jaxpriv.data import pieces
from jaxpriv.data.composites import Composites, Options
from jaxpriv.data.cutouts import Face
from jaxpriv.data.records import DataError

BOX = np.array([30.0, 40.0, 70.0, 80.0])
FIVE = np.array([[40.0, 50], [60, 50], [50, 60], [42, 70], [58, 70]])
RED, GREEN, GREY, BLUE = (200, 0, 0), (0, 200, 0), (100, 100, 100), (0, 0, 200)
OPTIONS = Options(side=128, most=4, smallest=12, largest=50, scraps=0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
  """A face, red at the left and green at the right, on grey; and blue."""
  top = tmp_path_factory.mktemp("photographs")
  pixels = np.full((120, 100, 3), GREY, np.uint8)
  pixels[40:80, 30:50], pixels[40:80, 50:70] = RED, GREEN
  Image.fromarray(pixels).save(top / "face.png")
  Image.new("RGB", (200, 90), BLUE).save(top / "blue.png")
  return top


def made(photographs, people=9, options=OPTIONS, seed=0):
  file = str(photographs / "face.png")
  faces = [
    Face(file, (100, 120), BOX, FIVE, f"p{i % people}", i % 2)
    for i in range(2 * people)
  ]
  return Composites(faces, [str(photographs / "blue.png")], options, seed)


@pytest.fixture
def same_light(monkeypatch):
  plain = lambda rng: (np.ones(3), np.zeros(3))
  monkeypatch.setattr(pieces, "light", plain)


def colours(image, points):
  x, y = np.floor(points).astype(int).T
  return image[y, x].astype(int)


def test_faces_are_where_labels_say(photographs, same_light):
  source = made(photographs)
  turned = set()
  for number in range(30):
    image = source.draw(number)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    for placed in source.placed(number):
      middle, half = (placed.box[:2] + placed.box[2:]) / 2, placed.box[2:]
      half = half - middle
      if half.min() < 8:
        continue  # too few pixels to be sure of one
      left, right = colours(image, middle + [[-0.5, 0], [0.5, 0]] * half)
      mirrored = left[1] > left[0]
      turned.add(bool(mirrored))
      first, second = (GREEN, RED) if mirrored else (RED, GREEN)
      np.testing.assert_allclose(left, first, atol=12)
      np.testing.assert_allclose(right, second, atol=12)
      # Left and right points are as seen in the picture, in a mirror too.
      assert placed.five[0, 0] < placed.five[1, 0]
      assert placed.five[3, 0] < placed.five[4, 0]
      np.testing.assert_allclose(
        colours(image, placed.five[[0, 1]]), [first, second], atol=12
      )
      # The box ends where the face does, and grey is around it.
      edges = middle + np.array([[-0.45, -0.75], [0, -1.3]]) * half
      if len(source.placed(number)) == 1 and edges.min() >= 0:
        inner, outer = colours(image, edges)
        assert inner[:2].max() > 150 and outer[:2].max() < 125
  assert turned == {True, False}


def test_what_is_far_from_faces_is_the_background(photographs, same_light):
  source = made(photographs)
  for number in range(8):
    image, away = source.draw(number), np.ones((128, 128), bool)
    for placed in source.placed(number):
      # Twice the box's half and more: the widest cut-out, turned.
      middle = (placed.box[:2] + placed.box[2:]) / 2
      reach = (placed.box[2:] - placed.box[:2]).max() * 2.2
      low = np.maximum(middle - reach, 0).astype(int)
      high = (middle + reach).astype(int) + 1
      away[low[1] : high[1], low[0] : high[0]] = False
    np.testing.assert_array_equal(image[away], np.tile(BLUE, (away.sum(), 1)))


def test_scraps_show_no_face(photographs, same_light):
  """Red and green come from faces alone."""
  none = made(photographs, options=OPTIONS._replace(scraps=0))
  some = made(photographs, options=OPTIONS._replace(scraps=8))
  grey = 0
  for number in range(12):
    image = some.draw(number).astype(int)
    inside = np.zeros((128, 128), bool)
    for placed in some.placed(number):
      middle = (placed.box[:2] + placed.box[2:]) / 2
      reach = (placed.box[2:] - placed.box[:2]).max() * 0.8 + 1
      low = np.maximum(middle - reach, 0).astype(int)
      high = (middle + reach).astype(int) + 1
      inside[low[1] : high[1], low[0] : high[0]] = True
    vivid = np.maximum(image[..., 0], image[..., 1]) > 130
    assert not (vivid & ~inside).any()
    grey += (abs(image - none.draw(number)).max(-1) > 30).sum()
  assert grey > 500  # there are scraps


@hypothesis.given(number=st.integers(0, 10**6), seed=st.integers(0, 5))
@hypothesis.settings(
  max_examples=60,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_every_picture_keeps_to_the_options(photographs, number, seed):
  source = made(photographs, seed=seed)
  placed = source.placed(number)
  assert 1 <= len(placed) <= 4
  people = [source.faces[p.face].person for p in placed]
  assert len(set(people)) == len(people)
  homes = {
    i for i, of in enumerate(source.groups) for p in of if p[2:] in people
  }
  assert len(homes) == 1
  sides = [np.sqrt((p.box[2:] - p.box[:2]).prod()) for p in placed]
  assert min(sides) > 12 - 1e-6 and max(sides) < 50 + 1e-6
  assert sides == sorted(sides)
  for i, one in enumerate(placed):
    assert (one.box > -1e-6).all() and (one.box < 128 + 1e-6).all()
    for other in placed[i + 1 :]:  # nearer
      shared = np.minimum(one.box[2:], other.box[2:]) - np.maximum(
        one.box[:2], other.box[:2]
      )
      assert shared.clip(0).prod() <= 0.1 * sides[i] ** 2 + 1e-6


def test_a_picture_depends_on_seed_and_number_alone(photographs):
  source, again = made(photographs), made(photographs)
  last = again.draw(5)  # before all others
  for number in range(5):
    again.draw(number)
  np.testing.assert_array_equal(source.draw(5), last)
  for a, b in zip(source.placed(5), again.placed(5), strict=True):
    np.testing.assert_array_equal(a.box, b.box)
  assert (source.draw(5) != source.draw(6)).any()
  other = made(photographs, seed=1)
  assert (source.draw(5) != other.draw(5)).any()
  # Of other groups, and of other numbers drawn within them.
  assert source.groups != other.groups
  other.groups = source.groups
  assert source.placed(5)[0].box.tolist() != other.placed(5)[0].box.tolist()


def test_each_picture_has_a_background_of_its_own(photographs, monkeypatch):
  monkeypatch.setattr(Composites, "_pieces", lambda self, number: [])
  names = [str(photographs / "face.png"), str(photographs / "blue.png")]
  face = made(photographs).faces[0]
  drawn = [Composites([face], names, OPTIONS).draw(n) for n in range(6)]
  assert len({image.tobytes() for image in drawn}) == 6
  blue = [(image[..., 2] > image[..., 0] + 40).all() for image in drawn]
  assert any(blue) and not all(blue)


def test_everybody_is_in_one_group(photographs):
  groups = made(photographs).groups
  assert [len(of) for of in groups] == [4, 4, 1]
  assert sorted(sum(groups, [])) == [f"n p{i}" for i in range(9)]


def test_small_faces_are_enlarged_a_little_or_not_used(photographs):
  source = made(photographs, options=OPTIONS._replace(smallest=55, largest=64))
  sides = [
    np.sqrt((p.box[2:] - p.box[:2]).prod())
    for number in range(40)
    for p in source.placed(number)
  ]
  assert min(sides) >= 55 and max(sides) <= 60 + 1e-6  # 1.5 times 40
  with pytest.raises(DataError, match="all of 18 faces are too small"):
    made(photographs, options=OPTIONS._replace(smallest=62, largest=64))


@pytest.mark.parametrize(
  "wrong, match",
  [
    (dict(side=16), "side = 16: it is 32 or more"),
    (dict(most=0), "most = 0"),
    (dict(scraps=-1), "scraps = -1"),
    (dict(smallest=0.5), "smallest = 0.5"),
    (dict(smallest=60), "largest = 50: it is at least smallest, 60"),
    (dict(largest=65), "at most half of side, 128"),
    (dict(smallest=float("nan")), "smallest = nan"),
  ],
)
def test_options_that_will_not_do_are_refused(photographs, wrong, match):
  with pytest.raises(DataError, match=match):
    made(photographs, options=OPTIONS._replace(**wrong))
