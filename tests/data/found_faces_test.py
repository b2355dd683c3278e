"""Found faces take the place of labels that are missing, and of no others."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import account, alignment, folder, found_faces, sources
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.records import DataError


def face(file, x, y, size, score=0.9):
  """A row of a found face, of a box and five points at the template's."""
  five = alignment.arcface_template(size) + (x, y)
  return {
    "file": file,
    **{"x0": str(x), "y0": str(y), "x1": str(x + size), "y1": str(y + size)},
    "n_points": "5",
    "points": ";".join(f"{a:.2f},{b:.2f}" for a, b in five),
    "score": str(score),
  }


def row(file, identity="", **cells):
  return {"file": file, "identity": identity, "gender": "", "x0": "", "y0": "",
          "x1": "", "y1": "", "points": "", **cells}  # fmt: skip


BOX = {"x0": "0", "y0": "0", "x1": "20", "y1": "20"}


def test_the_largest_face_is_that_of_the_row():
  faces = [face("a", 0, 0, 10, 0.99), face("a", 30, 0, 25, 0.6)]
  done = found_faces.complete([row("a", "ann", gender="F")], {"a": faces})
  first, second = done.rows
  assert (first["identity"], first["gender"], first["x0"]) == ("ann", "F", "30")
  assert (second["identity"], second["gender"], second["x0"]) == ("", "", "0")
  assert done.others == 1 and done.found.tolist() == [True, True]


def test_labels_win():
  rows = [row("a", "ann", **BOX), row("b", "bob", points="1,2;3,4")]
  assert found_faces.wanting(rows) == []
  faces = {name: [face(name, 5, 5, 9)] for name in "ab"}
  assert found_faces.complete(rows, faces).rows == rows


def test_a_labelled_face_is_not_found_again():
  rows = [row("a", "ann", **BOX), row("a", "bob")]
  assert found_faces.wanting(rows) == ["a"]
  # The middle of the first is that of ann's box.
  faces = [face("a", 2, 2, 17), face("a", 60, 0, 12)]
  done = found_faces.complete(rows, {"a": faces})
  assert [(r["identity"], r["x0"]) for r in done.rows] == [
    ("ann", "0"), ("bob", "60"),
  ]  # fmt: skip
  assert done.found.tolist() == [False, True] and not done.others


def test_rows_that_are_left_as_they_are():
  """Several of one file, animals, and files that cannot be read."""
  rows = [row("a", "ann"), row("a", "bob"), row("c", "cat"), row("d", "dan")]
  assert found_faces.wanting(rows) == ["d"]
  faces = {name: [face(name, 0, 0, 9)] for name in "ac"}
  done = found_faces.complete(rows, faces)
  assert done.rows == rows and not done.found.any()


def test_a_photograph_without_a_face_goes():
  found = found_faces.by_file([{"file": "a"}, face("b", 1, 1, 9)])
  assert found["a"] == [] and len(found["b"]) == 1
  done = found_faces.complete([row("a", "ann"), row("b", "bob")], found)
  assert [r["file"] for r in done.rows] == ["b"]
  assert done.faceless == ("a",)


@pytest.fixture
def plain(tmp_path, make_picture):
  """Two people's folders of photographs of odd sizes, and one of nobody."""
  for i, name in enumerate(("ann/1.png", "ann/2.png", "bob/1.png", "3.png")):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(make_picture(i, 90 + 10 * i)).save(path)
  return tmp_path


def test_a_plain_folder(plain):
  assert folder.wanting(plain) == ["3.png", "ann/1.png", "ann/2.png",
                                   "bob/1.png"]  # fmt: skip
  found = {"3.png": [face("3.png", 20, 20, 40)], "ann/1.png": [],
           "ann/2.png": [face("ann/2.png", 10, 5, 64)],
           "bob/1.png": [face("bob/1.png", 0, 0, 30),
                         face("bob/1.png", 40, 40, 50)]}  # fmt: skip
  source = FolderSource(plain, found=found)
  faceless = {"ann/1.png": account.FACELESS}
  assert source.left_out == faceless and source.others == 1
  assert [source.name(i) for i in range(4)] == [
    "3.png", "ann/2.png", "bob/1.png", "bob/1.png",
  ]  # fmt: skip
  people = [source.identity_names[i] if i >= 0 else ""
            for i in source.identities]  # fmt: skip
  assert people == ["", "ann", "bob", ""]
  framed = sources.Framed(source, 32)
  assert framed.left_out == faceless
  for i in range(4):
    assert alignment.framed_by(source.photograph(i), "landmarks") == "landmarks"
    np.testing.assert_allclose(
      framed[i]["landmarks"][:5], alignment.arcface_template(32), atol=0.02
    )
  np.testing.assert_array_equal(source[2]["box"], (40, 40, 90, 90))


def test_the_frame_of_labelled_boxes_is_measured_on_them_alone(
  tmp_path, make_picture, labels_writer
):
  """A detector's boxes are of another custom than those that were drawn."""
  rows, found = [], {}
  for i in range(12):
    name = f"{i}.png"
    Image.fromarray(make_picture(i, 100)).save(tmp_path / name)
    drawn = face(name, 20, 20, 60)
    drawn.pop("score")
    if i < 5:
      drawn |= {"x0": "0", "y0": "0", "x1": "100", "y1": "100"}
    elif i == 5:
      drawn |= {"points": "", "n_points": ""}
    else:
      found[name] = [face(name, 20, 20, 60)]
      drawn |= dict.fromkeys(("x0", "y0", "x1", "y1", "points", "n_points"), "")
    rows.append(drawn)
  labels_writer(tmp_path, rows)
  alone = FolderSource(tmp_path).photograph(5).square
  source = FolderSource(tmp_path, found=found)
  np.testing.assert_array_equal(source.photograph(5).square, alone)
  np.testing.assert_allclose(
    source.photograph(6).square, (20, 20, 80, 80), atol=0.02
  )


def test_no_face_at_all(plain):
  found = {name: [] for name in folder.wanting(plain)}
  with pytest.raises(DataError, match="no face was found in any of the 4"):
    FolderSource(plain, found=found)
