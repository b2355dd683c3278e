"""Boxes become tight, and faces that cannot be cut out are left."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, cutouts
from jaxpriv.data.records import DataError

FIVE = alignment.arcface_template(112)
# By hand, of the square of 112 px of the template: a side of 112 / 1.34, with
# the middle 0.01 of it left of the square's, and 0.26 of it below.
TIGHT = np.array([13.373, 35.940, 96.955, 119.522])
WIDE = np.array([10.0, 0.0, 110.0, 130.0])  # hair to neck


def moved(points, scale, by):
  return points * scale + np.tile(by, points.size // 2).reshape(points.shape)


def a_set(count, box):
  """Boxes [N, 4] and points [N, 5, 2] of faces of many sizes and places."""
  moves = [(1 + i / 4, (10.0 * i, 7.0 * i)) for i in range(count)]
  boxes = np.array([moved(box, *move) for move in moves])
  return boxes, np.array([moved(FIVE, *move) for move in moves])


def test_tight_boxes_are_kept_as_they_are():
  boxes, five = a_set(6, TIGHT)
  boxes += np.random.default_rng(0).uniform(-3, 3, boxes.shape)
  kept = cutouts.tight_boxes(boxes, five, ["a"] * 6)
  np.testing.assert_array_equal(kept, boxes)


def test_wide_boxes_become_tight_by_points_or_by_what_is_usual():
  boxes, five = a_set(7, WIDE)
  expected, _ = a_set(7, TIGHT)
  five[6] = np.nan
  got = cutouts.tight_boxes(boxes, five, ["a"] * 7)
  np.testing.assert_allclose(got[:6], expected[:6], atol=1e-2)
  # By the framing of the others: a wide box is not quite of the same shape.
  np.testing.assert_allclose(got[6], expected[6], atol=0.02 * 250)


def test_each_set_is_measured_by_itself():
  wide, five = a_set(5, WIDE)
  tight, _ = a_set(5, TIGHT)
  boxes = np.concatenate([wide, tight])
  got = cutouts.tight_boxes(boxes, np.tile(five, (2, 1, 1)), [*"aaaaabbbbb"])
  np.testing.assert_allclose(got[:5], tight, atol=1e-2)
  np.testing.assert_array_equal(got[5:], tight)


def test_without_a_box_points_say_where_it_is_and_turn_with_the_face():
  turn = np.array([[0.8, -0.6], [0.6, 0.8]])
  middle = (TIGHT[:2] + TIGHT[2:]) / 2 @ turn.T
  (got,) = cutouts.tight_boxes(
    np.full((1, 4), np.nan), (FIVE @ turn.T)[None], [""]
  )
  half = 112 / 1.34 / 2
  expected = np.concatenate([middle - half, middle + half])
  np.testing.assert_allclose(got, expected, atol=1e-2)
  nothing = np.full((1, 5, 2), np.nan)
  got = cutouts.tight_boxes(np.full((1, 4), np.nan), nothing, [""])
  assert np.isnan(got).all()


def cell(points):
  return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


@pytest.fixture
def folder(tmp_path, labels_writer):
  """Photographs of 150 px, of which one face each can be cut out of two."""
  box = dict(zip(("x0", "y0", "x1", "y1"), (13, 35, 97, 120)))
  blank = dict.fromkeys(("x0", "y0", "x1", "y1"), "")
  out = {**box, "x0": -70, "x1": 14}
  line = dict(set="s", identity="", gender="", points="")
  rows = [
    dict(line, file="ann.png", **box) | dict(identity="ann", gender="F"),
    dict(line, file="nobody.png", **blank) | dict(points=cell(FIVE)),
    dict(line, file="two.png", **box) | dict(identity="bob"),
    dict(line, file="two.png", **box) | dict(identity="eve"),
    dict(line, file="cat.png", **box) | dict(identity="cat"),
    dict(line, file="bare.png", **blank),
    dict(line, file="out.png", **out),
    dict(line, file="scene.png", **blank) | dict(set="b"),
    dict(line, file="small.png", **blank) | dict(set="tiny"),
  ]
  for name in {row["file"] for row in rows}:
    side = 8 if name == "small.png" else 150
    Image.new("RGB", (side, side)).save(tmp_path / name)
  labels_writer(tmp_path, rows)
  return tmp_path


def test_faces_are_those_that_can_be_cut_out(folder, caplog):
  with caplog.at_level("INFO"):
    first, second = cutouts.faces(folder, ["s"])
  assert (first.person, first.male, first.size) == ("ann", 0, (150, 150))
  np.testing.assert_array_equal(first.box, [13, 35, 97, 120])
  assert np.isnan(first.five).all()
  assert first.side == pytest.approx(np.sqrt(84 * 85))
  assert (second.person, second.male) == ("", -1)
  np.testing.assert_allclose(second.box, TIGHT, atol=0.05)
  np.testing.assert_allclose(second.five, FIVE, atol=0.01)
  told = {"of animals": 1, "beside others": 2, "without a box": 1}
  for reason, number in {**told, "outside of": 1}.items():
    assert f"{number} faces are not used: {reason}" in caplog.text
  with pytest.raises(DataError, match="no face can be cut out"):
    cutouts.faces(folder, ["b"])


def test_people_are_dealt_by_shares(folder):
  one = cutouts.faces(folder, ["s"])[0]
  many = [one._replace(person=f"p{i // 3}") for i in range(60)]
  many += [one._replace(person="", file=f"f{i}") for i in range(20)]
  low, high = cutouts.of_people(many, 0, 0.7), cutouts.of_people(many, 0.7, 1)
  assert (
    len({f.owner for f in low}) == 28 and len({f.owner for f in high}) == 12
  )
  assert len(low) + len(high) == 80
  assert {f.owner for f in low} != set(sorted({f.owner for f in many})[:28])
  # By name, not by place: the order of the photographs plays no part.
  again = cutouts.of_people(many[::-1], 0, 0.7)
  assert {f.owner for f in again} == {f.owner for f in low}
  with pytest.raises(DataError, match="from 0 to 0.001 of 40 people"):
    cutouts.of_people(many, 0, 0.001)


def test_backgrounds_show_nobody_and_are_large_enough(folder):
  (only,) = cutouts.backgrounds(folder, ["b"])
  assert only == str(folder / "scene.png")
  names = cutouts.backgrounds(folder, (), ["scene*", "cat*"])
  assert [name.rpartition("/")[2] for name in names] == ["cat.png", "scene.png"]
  with pytest.raises(DataError, match="ann.png has the box or points"):
    cutouts.backgrounds(folder)
  with pytest.raises(DataError, match="no photograph of .* is called like x"):
    cutouts.backgrounds(folder, (), ["x*"])
  with pytest.raises(DataError, match="less than 16 pixels"):
    cutouts.backgrounds(folder, ["tiny"])
