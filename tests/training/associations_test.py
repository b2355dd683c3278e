"""Associations of readers that read colours, framed by faces or as they are."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import account, alignment, pretrained
from jaxpriv.data.records import DataError
from jaxpriv.data.stimuli import Concept, Pairing, Picture
from jaxpriv.metrics import statistics
from jaxpriv.metrics.association import association_test
from jaxpriv.models.pretrained.catalogue import NETWORKS
from jaxpriv.training import associations, detection, witnesses
from jaxpriv.training.associations import Reader
from jaxpriv.training.detection import Faces

SIDE = 20
# A test of colours, and one with its attributes exchanged.
WARM = Pairing("Warm", "red", "blue", "orange", "violet")
COLD = Pairing("Cold", "red", "blue", "violet", "orange")
COLOURS = {
  "red": (200, 30, 30),
  "blue": (30, 30, 200),
  "orange": (220, 120, 40),
  "violet": (90, 40, 220),
}


def concepts(count=5, faces=()):
  """Noisy pictures of colours; of those in `faces` the points are known."""
  rng = np.random.default_rng(0)
  found = {}
  for name, colour in COLOURS.items():
    noise = rng.integers(-25, 26, (count, 1, 1, 3))
    pixels = np.broadcast_to(colour + noise, (count, SIDE, 2 * SIDE, 3))
    five = alignment.arcface_template(SIDE) if name in faces else None
    found[name] = Concept(
      tuple(
        Picture(f"{name}/{i}", np.clip(one, 0, 255).astype(np.uint8), five)
        for i, one in enumerate(pixels)
      )
    )
  return found


def reader(template=None):
  """Reads the mean colour, and notes what it has read."""
  seen = []

  def embed(pixels):
    seen.extend(pixels)
    return pixels.mean((1, 2)).astype(np.float32)

  return Reader("colour", SIDE, template, embed), seen


def measured(tests, found, **options):
  prepared, skipped = associations.prepare(tests, found, True, strict=True)
  assert not skipped
  rows = associations.embed(reader()[0], prepared)
  return associations.measure(prepared, rows, **options)


def test_the_rows_are_those_of_the_test():
  found = concepts()
  warm, cold = measured([WARM, COLD], found)
  sets = {
    name: np.stack([p.source.mean((0, 1)) for p in concept.pictures])
    for name, concept in found.items()
  }
  expected = association_test(*(sets[name] for name in WARM[1:]))
  assert warm["effect_size"] == pytest.approx(expected.effect_size, rel=1e-4)
  assert warm["p_value"] == expected.p_value == 1 / 252 == warm["lowest_p"]
  assert warm["effect_size"] > 1.5 > -1.5 > cold["effect_size"]
  assert cold["p_value"] == 1
  adjusted = statistics.holm([row["p_value"] for row in (warm, cold)])
  assert [warm["p_holm"], cold["p_holm"]] == adjusted.tolist() == [2 / 252, 1]
  assert (warm["x"], warm["b"], cold["b"]) == ("red", "violet", "orange")
  assert (warm["n"], warm["attributes"], warm["exact"]) == (5, [5, 5], True)
  assert warm["framed_by"] == ["centre", "centre"] and warm["left_out"] == {}
  assert 0.9 < warm["least_effect"] < 1.2 and 0.3 < warm["power"] < 0.5


def test_options_of_the_permutations_are_passed_on():
  found = concepts(9)
  found["red"] = found["red"]._replace(
    pictures=tuple(reversed(found["blue"].pictures))
  )
  (row,) = measured([WARM], found, num_permutations=99)
  assert (row["permutations"], row["exact"]) == (100, False)
  assert row["lowest_p"] == 0.01
  (other,) = measured([WARM], found, num_permutations=99, seed=1)
  assert other["p_value"] != row["p_value"]


def test_too_few_pictures_can_show_nothing():
  (row,) = measured([WARM], concepts(2))
  assert row["p_value"] == row["lowest_p"] == 1 / 6
  assert row["least_effect"] is None and row["power"] == 0


def test_each_picture_is_embedded_once_in_each_frame():
  template = alignment.arcface_template(SIDE)
  known = concepts(3, faces=("red", "blue"))
  mixed = Pairing("Mixed", "red", "orange", "violet", "blue")
  tests = [WARM, COLD, mixed]
  prepared, _ = associations.prepare(tests, known, True, True)
  assert [test.faces for test in prepared] == [(True, False)] * 2 + [
    (False,) * 2
  ]
  colour, seen = reader(template)
  rows = associations.embed(colour, prepared)
  # Red and blue are framed by faces, but not beside what shows none.
  assert len(rows) == len(seen) == 4 * 3 + 2 * 3
  assert {framed for _, framed in rows} == {True, False}
  framed = rows["red/0", False]
  np.testing.assert_allclose(framed, rows["red/0", True], atol=2)
  found = associations.measure(prepared, rows)
  assert [row["framed_by"] for row in found] == [
    ["faces", "centre"],
    ["faces", "centre"],
    ["centre", "centre"],
  ]


def test_tests_without_pictures_are_skipped_unless_they_are_asked_for():
  found = concepts(3)
  other = WARM._replace(name="Green", x="green")
  prepared, skipped = associations.prepare([other, WARM], found, True, False)
  assert [test.pairing for test in prepared] == [WARM]
  assert skipped == {"Green": "Green: there is no folder green"}
  with pytest.raises(DataError, match="Green: there is no folder green"):
    associations.prepare([other, WARM], found, True, True)
  with pytest.raises(DataError, match="no test has its pictures: Green: there"):
    associations.prepare([other], found, True, False)


def test_embeddings_that_cannot_be_compared_name_the_test():
  prepared, _ = associations.prepare([WARM], concepts(2), True, True)
  dark = Reader("dark", SIDE, None, lambda pixels: np.zeros((len(pixels), 2)))
  with pytest.raises(DataError, match="Warm: X has embeddings of zeros"):
    associations.measure(prepared, associations.embed(dark, prepared))


@pytest.fixture
def finder(monkeypatch):
  """Finds two faces in a picture that is wider than high, a small one first."""
  looked = []

  def find(detector, marker, photographs):
    assert (detector, marker) == ("blazeface", "landmarks")
    looked.append(len(photographs))
    results = []
    for photograph in photographs:
      width, height = photograph.size
      points = np.arange(68 * 2, dtype=float).reshape(1, 68, 2)
      count = 2 * (width > height)
      boxes = np.array([[0, 0, 5, 5], [10.0, 10, 30, 30]])
      results.append(
        Faces(
          boxes[:count],
          np.array([0.9, 0.8])[:count],
          np.concatenate([points, points + 1000])[:count],
        )
      )
    results[0] = None  # it cannot be decoded
    return results

  monkeypatch.setattr(detection, "find", find)
  monkeypatch.setattr(witnesses, "load", lambda name: name)
  return looked


def test_the_largest_face_of_each_photograph_is_found(finder, tmp_path):
  wide, high = tmp_path / "wide.png", tmp_path / "high.png"
  Image.new("RGB", (40, 20)).save(wide)
  Image.new("RGB", (20, 40)).save(high)
  own = np.ones((5, 2))
  pictures = [Picture(f"x/{i}", wide) for i in range(18)]
  pictures[4] = Picture("x/4", high)
  pictures[5] = Picture("x/5", wide, own)
  drawn = Picture("a/0", np.zeros((20, 40, 3), np.uint8))
  given = {
    "x": Concept(tuple(pictures), {"x/bad": account.UNREADABLE}),
    "y": Concept((Picture("y/0", wide), Picture("y/1", wide))),
    "a": Concept((drawn,)),
  }
  found = associations.find_faces(given)
  assert finder == [16, 3]
  assert list(found) == list(given) and found["a"] == given["a"]
  assert found["x"].left_out == given["x"].left_out
  assert [len(found[name].pictures) for name in "xy"] == [18, 2]
  for name in "xy":
    for before, after in zip(given[name].pictures, found[name].pictures):
      assert after[:2] == before[:2]
  five = [p.five for name in "xy" for p in found[name].pictures]
  # The first of sixteen could not be decoded, and x/5 was not looked at.
  assert [i for i, one in enumerate(five) if one is None] == [0, 4, 17]
  np.testing.assert_array_equal(five[5], own)
  nose = [1000 + 60, 1000 + 61]  # the 31st of the 68 points of the larger face
  np.testing.assert_array_equal(five[1][2], nose)
  assert five[19].shape == (5, 2)


def test_faces_that_are_known_need_no_network(tmp_path, monkeypatch):
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path))
  known = concepts(2, faces=("red", "blue"))
  assert associations.find_faces(known) == known


def test_a_network_that_was_not_fetched(tmp_path, monkeypatch):
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path))
  with pytest.raises(pretrained.WeightsError, match="launch.fetch"):
    associations.pretrained_reader("dlib")


def test_a_pretrained_network_is_shown_faces_where_it_expects_them(monkeypatch):
  monkeypatch.setattr(
    witnesses, "load", lambda name: witnesses.Witness(name, {})
  )
  monkeypatch.setattr(
    witnesses, "embed", lambda witness, pixels: (witness.name, len(pixels))
  )
  found = associations.pretrained_reader("dlib")
  assert (found.name, found.size) == ("dlib", 150)
  frame = NETWORKS["dlib"].frame
  np.testing.assert_allclose(found.template / 150, frame.points)
  assert found.embed(np.zeros((3, 150, 150, 3), np.uint8)) == ("dlib", 3)
