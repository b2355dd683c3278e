"""Labels of detection sets: golden files, round trips, and what is refused."""

import io
import json
import logging
import pathlib
import struct
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import io as scipy_io

from jaxpriv.data import detection_labels as lib
from jaxpriv.data import sources
from jaxpriv.data.detection_labels import (
  ATTRIBUTES,
  FORMATS,
  SETTINGS,
  Face,
  annotation,
  matlab,
  text,
  voc,
)
from jaxpriv.data.records import DataError
from jaxpriv.data.scenes import FolderScenes
from jaxpriv.metrics.wider import wider_average_precision

NAN = float("nan")
NAMES = {
  "wider": "wider_face_val_bbx_gt.txt",
  "wider_mat": "wider_face_val.mat",
  "retinaface": "label.txt",
  "voc": "voc",
  "coco": "val.json",
  "labels": "labels.csv",
}
LEVELS = dict(blur=2, expression=1, illumination=0, invalid=0, occlusion=1,
              pose=1)  # fmt: skip


def same(actual, expected, atol=1e-9):
  """Asserts that two lists of annotations say the same."""
  assert [a.file for a in actual] == [e.file for e in expected]
  for a, e in zip(actual, expected, strict=True):
    assert a.size == e.size, a.file
    assert {*a.attributes} == {*ATTRIBUTES} and {*a.keep} == {*e.keep}
    for field in ("boxes", "landmarks", "visibility", "quality"):
      one, other = getattr(a, field), getattr(e, field)
      assert one.dtype == other.dtype and one.shape == other.shape
      np.testing.assert_allclose(one, other, atol=atol, err_msg=field)
    for field in ("attributes", "keep"):
      for name, values in getattr(e, field).items():
        np.testing.assert_array_equal(
          getattr(a, field)[name], values, err_msg=name
        )


def put(folder, name, content):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  data = content if isinstance(content, bytes) else content.encode()
  path.write_bytes(data)
  return path


# Sets of annotations, drawn at random.

WHOLE = st.integers(-300, 3000).map(float)
PARTS = st.integers(-300_000, 3_000_000).map(lambda i: i / 1000)
STEM = st.text("aé漢 ,;'\"&<>%#1.-_", max_size=8).map("p{}q".format)
FOLDER = st.sampled_from(("", "0--Parade/", "deep/er/", "1 é/"))


@st.composite
def face(draw, coordinate, known):
  flags = draw(st.lists(st.sampled_from((-2, -1, 0, 1)), min_size=5,
                        max_size=5))  # fmt: skip
  box = draw(st.tuples(*[coordinate] * 4).filter(any))
  if draw(st.integers(0, 3)):  # most boxes have an area
    (x0, x1), (y0, y1) = sorted(box[::2]), sorted(box[1::2])
    box = (x0, y0, x1 + 1, y1 + 1)
  return Face(
    box,
    [
      (NAN, NAN) if flag == -2 else draw(st.tuples(PARTS, PARTS.map(abs)))
      for flag in flags
    ],
    [max(flag, -1) for flag in flags],
    {name: draw(st.integers(-1, top)) for name, top in ATTRIBUTES.items()},
    {name: draw(st.booleans()) for name in known},
    draw(st.sampled_from((NAN, 0.0, 0.82, 1.5))),
  )


@st.composite
def sets(draw, coordinate=PARTS):
  """Annotations of pictures in order of their folders."""
  files = draw(
    st.lists(
      st.tuples(FOLDER, STEM).map(lambda p: f"{p[0]}{p[1]}.jpg"),
      min_size=1,
      max_size=4,
      unique=True,
    )
  )
  known = draw(st.sampled_from(((), ("easy", "hard"), SETTINGS)))
  sizes = st.none() | st.tuples(st.integers(1, 4000), st.integers(1, 4000))
  return [
    annotation(
      file,
      draw(st.lists(face(coordinate, known), max_size=3)),
      draw(sizes),
      keep=known,
    )
    for file in sorted(files, key=lambda name: name.rpartition("/")[0])
  ]


def held(one, name):
  """The annotation less what a format is documented not to hold."""
  known = np.isfinite(one.landmarks).all(2)
  nothing = annotation(one.file, [Face(box) for box in one.boxes])
  seen = np.where(known & (one.visibility < 0), 1, one.visibility)
  if name == "wider":
    levels = {k: np.maximum(v, 0) for k, v in one.attributes.items()}
    return nothing._replace(boxes=np.rint(one.boxes), attributes=levels)
  if name == "wider_mat":
    return nothing._replace(attributes=one.attributes, keep=one.keep)
  if name == "retinaface":
    return nothing._replace(
      landmarks=one.landmarks,
      visibility=seen.astype(np.int8),
      quality=one.quality,
    )
  if name == "coco":
    return one._replace(visibility=seen.astype(np.int8))
  if name == "labels":
    sides = one.boxes[:, 2:] - one.boxes[:, :2]
    use = one.valid & (sides.max(1) > 1)
    return annotation(
      one.file, [f for f, u in zip(lib.faces(one), use) if u], keep=one.keep
    )._replace(
      visibility=np.where(known, 1, -1).astype(np.int8)[use],
      quality=np.full(use.sum(), NAN),
    )
  return one


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_what_is_written_is_read_again(name, data):
  drawn = data.draw(sets(WHOLE if name == "labels" else PARTS))
  expected = [held(one, name) for one in drawn]
  if name in ("voc", "coco") and not any(len(one.boxes) for one in drawn):
    expected = [one._replace(keep={}) for one in expected]  # no face says so
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "new", NAMES[name])
    lib.write(path, drawn, name)
    assert not [*path.parent.glob("*.partial")]
    assert name == "wider_mat" or lib.guess(path).format == name
    back = lib.read(path)
    if name == "voc":  # in the order of its files
      order = {one.file: one for one in back}
      back = [order[one.file] for one in drawn]
    same(back, expected, 1e-6)
    # Read again, it is written as the same bytes.
    again = path.with_name("again") / path.name
    lib.write(again, back, name)
    if name != "wider_mat":  # it has the time in it
      files = [p for p in path.rglob("*") if p.is_file()] or [path]
      for file in files:
        other = again / file.relative_to(path)
        assert other.read_bytes() == file.read_bytes()
    assert not lib.lost(back, name)


def test_what_is_lost_is_named():
  full = Face(
    (0.5, 1, 20, 21),
    ((1, 2), (3, 2), (2, 3), (1, 4), (3, 4)),
    (1, 0, 1, 1, 1),
    LEVELS,
    {"easy": True},
    0.7,
  )
  everything = [annotation("a.jpg"), annotation("b.jpg", [full], (30, 40))]
  for name in ("voc", "coco"):
    assert lib.lost(everything, name) == []
  assert lib.lost(everything, "retinaface") == [
    "attributes", "keep lists", "sizes",
  ]  # fmt: skip
  missing = ["landmarks", "hidden points", "quality", "sizes"]
  assert lib.lost(everything, "wider_mat") == missing
  assert lib.lost(everything, "labels") == missing[1:]
  assert lib.lost(everything, "wider") == [
    "fractions of pixels", *missing[:2], "keep lists", *missing[2:],
  ]  # fmt: skip
  assert lib.lost([annotation("a.jpg")], "wider") == []


# Files as others write them.


def test_wider_as_it_is_published(tmp_path):
  content = (
    "\ufeff0--Parade\\a.jpg\r\n2\r\n449 330 122 149 2 1 0 0 1 1 \r\n"
    "361 98 0 339 0 0 0 1 0 0 \r\n./b.jpg\r\n0\r\n"
    "0 0 0 0 0 0 0 0 0 0 \r\nc.jpg\r\n0\r\nd.jpg\r\n1\r\n7 8 -9 10\r\n\r\n"
  )
  a, b, c, d = lib.read(put(tmp_path, "x.txt", content))
  assert [one.file for one in (a, b, c, d)] == [
    "0--Parade/a.jpg", "b.jpg", "c.jpg", "d.jpg",
  ]  # fmt: skip
  np.testing.assert_array_equal(
    a.boxes, [[449, 330, 571, 479], [361, 98, 361, 437]]
  )
  assert {k: v[0] for k, v in a.attributes.items()} == LEVELS
  assert a.attributes["invalid"].tolist() == [0, 1]
  assert not len(b.boxes) and not len(c.boxes)
  np.testing.assert_array_equal(d.boxes, [[7, 8, -2, 18]])
  assert d.attributes["blur"].tolist() == [-1]
  # Degenerate faces stay, and are marked.
  np.testing.assert_array_equal(a.degenerate, [False, True])
  np.testing.assert_array_equal(a.valid, [True, False])
  assert d.degenerate.all() and not d.outside.any()
  counts = lib.count([a, b, c, d])
  assert counts == lib.Counts(4, 3, 2, 0, 3, 1)
  path = tmp_path / "again.txt"
  lib.write(path, [a, b], "wider")
  assert path.read_text() == (
    "0--Parade/a.jpg\n2\n449 330 122 149 2 1 0 0 1 1\n"
    "361 98 0 339 0 0 0 1 0 0\nb.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
  )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", " \n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_end_as_systems_end_them(tmp_path, mark, end):
  for lines in (["a.jpg", "1", "1 2 3 4", ""], ["# a.jpg", "1\t2  3 4"]):
    (one,) = lib.read(put(tmp_path, "x.txt", mark + end.join(lines)))
    assert one.file == "a.jpg" and one.boxes.tolist() == [[1, 2, 4, 6]]


def test_numbers_are_written_short():
  values = (3.0, 0.5, -1e-9, 0.1 + 0.2, -2.25, 123456.0000004)
  assert [*map(text.number, values)] == [
    "3", "0.5", "0", "0.3", "-2.25", "123456",
  ]  # fmt: skip
  assert [*map(text.rounded, values)] == [3, 0.5, 0, 0.3, -2.25, 123456]


def test_retinaface_as_it_is_published(tmp_path):
  unknown = " ".join(["-1.0"] * 15)
  nowhere = " ".join(["-1 -1 0"] * 5)
  content = (
    "# 0--Parade/a.jpg\n"
    "10 20 30 40 11.5 21 0.0 12 21 1.0 -1 -1 -1.0 14 24 0 15 25.25 0 0.82\n"
    f"1 2 3 4 {unknown} -1.0\n1 2 3 4 {nowhere}\n"
    "# b.jpg\n# c.jpg\n5 6 7 8\n"
  )
  a, b, c = lib.read(put(tmp_path, "label.txt", content))
  np.testing.assert_array_equal(a.boxes[0], [10, 20, 40, 60])
  np.testing.assert_array_equal(
    a.landmarks[0], [[11.5, 21], [12, 21], [NAN, NAN], [14, 24], [15, 25.25]]
  )
  np.testing.assert_array_equal(a.visibility[0], [1, 0, -1, 1, 1])
  np.testing.assert_array_equal(a.quality, [0.82, NAN, NAN])
  assert np.isnan(a.landmarks[1:]).all() and (a.visibility[1:] == -1).all()
  assert len(b.boxes) == 0
  np.testing.assert_array_equal(c.boxes, [[5, 6, 12, 14]])
  assert lib.count([a, b, c]).without_landmarks == 3
  path = tmp_path / "again.txt"
  lib.write(path, [a], "retinaface")
  head, first, *_ = path.read_text().splitlines()
  assert head == "# 0--Parade/a.jpg"
  assert first == (
    "10 20 30 40 11.5 21 0 12 21 1 -1 -1 -1 14 24 0 15 25.25 0 0.82"
  )


def test_scrfd_has_corners_and_sizes(tmp_path):
  content = "# a b.jpg 100 200\n10 20 30 40\n1 2 3 4 1\n# c.jpg\n10 20 30 40\n"
  a, c = lib.read(put(tmp_path, "labelv2.txt", content))
  assert (a.file, a.size, c.size) == ("a b.jpg", (100, 200), None)
  np.testing.assert_array_equal(a.boxes, [[10, 20, 30, 40], [1, 2, 3, 4]])
  assert a.attributes["invalid"].tolist() == [-1, 1]
  np.testing.assert_array_equal(c.boxes, [[10, 20, 40, 60]])


def cells(*values):
  array = np.empty((len(values), 1), object)
  for i, value in enumerate(values):
    array[i, 0] = value
  return array


MAT = {
  "event_list": cells("0--Parade", "1--Handshaking"),
  "file_list": cells(cells("0_a", "0_b"), cells("1_é")),
  "face_bbx_list": cells(
    cells(
      np.array([[200, 100, 100, 250], [1, 2, 0, 4]], np.uint8),
      np.zeros((0, 4)),
    ),
    cells(np.array([[5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 4, 4.5]])),
  ),
  "blur_label_list": cells(
    cells(np.array([[2], [0]], np.uint8), np.zeros((0, 1))),
    cells(np.array([[1], [0], [2]], np.uint8)),
  ),
  "other": np.array([[1.0, 2.0]]),
}
EASY = cells(
  cells(np.array([[1]], np.uint8), np.zeros((0, 0))),
  cells(np.array([[3], [1]], np.uint8)),
)


def mat(changes=(), **options):
  stream = io.BytesIO()
  content = {k: v for k, v in {**MAT, **dict(changes)}.items() if v is not None}
  scipy_io.savemat(stream, content, **options)
  return stream.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_wider_mat_as_it_is_published(tmp_path, compressed):
  path = put(tmp_path, "wider_face_val.mat", mat(do_compression=compressed))
  assert all(not one.keep for one in lib.read(path))
  put(tmp_path, "wider_easy_val.mat", mat({"gt_list": EASY}))
  a, b, c = lib.read(path)
  assert [one.file for one in (a, b, c)] == [
    "0--Parade/0_a.jpg", "0--Parade/0_b.jpg", "1--Handshaking/1_é.jpg",
  ]  # fmt: skip
  # Stored as bytes, which 200 + 100 does not fit in.
  np.testing.assert_array_equal(a.boxes, [[200, 100, 300, 350], [1, 2, 1, 6]])
  assert b.boxes.shape == (0, 4)
  np.testing.assert_array_equal(c.boxes[2], [0, 0, 4, 8.5][:2] + [4, 4.5])
  assert a.attributes["blur"].tolist() == [2, 0]
  assert c.attributes["blur"].tolist() == [1, 0, 2]
  assert c.attributes["pose"].tolist() == [-1, -1, -1]
  assert {*a.keep} == {*b.keep} == {"easy"}
  assert a.keep["easy"].tolist() == [True, False]
  assert c.keep["easy"].tolist() == [True, False, True]
  same(lib.read(tmp_path / "wider_easy_val.mat"), [a, b, c])
  # As the protocol takes them.
  found = [np.c_[of.boxes[:, :2], of.boxes[:, 2:] - of.boxes[:, :2]]
           for of in (a, b, c)]  # fmt: skip
  scored = [np.c_[boxes, np.full(len(boxes), 0.5)] for boxes in found]
  wanted = [np.flatnonzero(of.keep["easy"]) for of in (a, b, c)]
  assert wider_average_precision(scored, [*zip(found, wanted)]) == 1


def test_a_line_of_zeros_in_wider_mat_is_no_face(tmp_path):
  boxes = cells(
    cells(np.zeros((1, 4)), np.zeros((2, 4))), cells([[1, 2, 3, 4]])
  )
  blur = cells(cells([[0]], [[0], [0]]), cells([[0]]))
  content = mat({"face_bbx_list": boxes, "blur_label_list": blur})
  annotations = lib.read(put(tmp_path, "wider_face_val.mat", content))
  assert [len(one.boxes) for one in annotations] == [0, 2, 1]


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"file_list": None}, "has no file_list"),
    ({"face_bbx_list": cells(1)}, "face_bbx_list: 1 cells, .* have 2"),
    ({"file_list": cells(cells("a"), cells("b"))}, "event 1: 2 cells, .* 1"),
    ({"event_list": np.array([[1, 2]])}, "event_list: cells are needed"),
    ({"event_list": cells("a", 3.0)}, "event 2, event_list: a name is needed"),
    ({"event_list": cells("..", "b")}, "picture 1: .*not below the folder"),
    ({"file_list": cells(cells("a", "a"), cells("b"))},
     "event 1, picture 2: 0--Parade/a.jpg is in .*picture 1 already"),
    ({"blur_label_list": cells(cells([[2]], [[0]]), cells([[1]]))},
     "picture 1, blur_label_list: 1 values for 2 faces"),
    ({"blur_label_list": cells(cells([[2], [7]], []), cells([[0]] * 3))},
     "event 1, picture 1, face 2: blur is 0 to 2"),
    ({"face_bbx_list": cells(cells([[1, 2, 3]], []), cells([[1, 2, 3, 4]]))},
     r"\[N, 4\] numbers are needed, not \[1, 3\]"),
    ({"face_bbx_list": cells(cells("ab", []), cells([[1, 2, 3, 4]]))},
     "event 1, picture 1, face_bbx_list: numbers are needed"),
    ({"gt_list": EASY}, "does not say of which setting"),
  ],
)  # fmt: skip
def test_a_wrong_wider_mat_is_refused(tmp_path, changes, message):
  path = put(tmp_path, "wider_face_val.mat", mat(changes))
  with pytest.raises(DataError, match=message):
    lib.read(path)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({}, "wider_hard_val.mat, gt_list: there is no such list"),
    ({"gt_list": cells(cells([[0]], []), cells([]))}, "hard gt_list: .*1 to 2"),
    ({"gt_list": cells(cells([[3]], []), cells([]))}, "hard gt_list: .*1 to 2"),
    ({"gt_list": cells(cells([[1], [1]], []), cells([]))}, "named twice"),
    ({"gt_list": EASY, "event_list": cells("b", "a")},
     "wider_hard_val.mat: its event_list is not that of wider_face_val.mat"),
  ],
)  # fmt: skip
def test_wrong_keep_lists_are_refused(tmp_path, changes, message):
  path = put(tmp_path, "wider_face_val.mat", mat())
  put(tmp_path, "wider_hard_val.mat", mat(changes))
  with pytest.raises(DataError, match=message):
    lib.read(path)


VALUES = st.recursive(
  st.text("abé漢", max_size=3)
  | st.sampled_from((np.uint8, np.int16, np.float32, np.float64)).map(
    lambda kind: np.arange(6, dtype=kind).reshape(2, 3)
  ),
  lambda inner: st.lists(inner, max_size=3),
  max_leaves=8,
)


def as_cells(value):
  return cells(*map(as_cells, value)) if isinstance(value, list) else value


@given(st.lists(VALUES, max_size=3), st.booleans())
@settings(deadline=None, max_examples=40)
def test_matlab_files_hold_what_scipy_writes(value, compressed):
  data = mat({"mine": as_cells(value)}, do_compression=compressed)
  found = matlab.Reader(data).arrays(["mine"])
  assert {*found} == {"mine"}

  def check(actual, expected):
    if isinstance(expected, np.ndarray):
      np.testing.assert_array_equal(actual, expected)
      assert actual.dtype == expected.dtype
    elif isinstance(expected, str):
      assert isinstance(actual, str) and actual == expected
    else:
      # scipy writes no cells as numbers of which there are none.
      assert len(actual) == len(expected)
      for one, other in zip(actual, expected):
        check(one, other)

  check(found["mine"], value)


# Dimensions as a file has them: [2, 1], [3, 1] and [2].
TWO, THREE, SHORT = (
  b"\5\0\0\0%c\0\0\0%c\0\0\0%c\0\0\0" % sizes
  for sizes in ((8, 2, 1), (8, 3, 1), (4, 2, 0))
)


@pytest.mark.parametrize(
  "data, message",
  [
    (b"MATLAB 7.3 MAT-file".ljust(126) + b"\0\2IM", "7.3.*'-v7'"),
    (b"\x89HDF\r\n\x1a\n", "7.3.*'-v7'"),
    (b"no such file", "does not begin like one"),
    (mat()[:-9], "is cut off"),
    (mat(do_compression=True)[:-9], "is cut off"),
    (mat({"event_list": {"a": 1}}), "class 2, which is not"),
    (mat().replace(TWO, THREE, 1), "2 cells, not 3"),
    (mat().replace(TWO, SHORT, 1), r"of dimensions \[2\]"),
    (mat({"event_list": cells(np.array(["ab", "cd"]))}), "several rows"),
  ],
)  # fmt: skip
def test_what_is_no_matlab_file_is_refused(tmp_path, data, message):
  path = put(tmp_path, "wider_face_val.mat", data)
  with pytest.raises(DataError, match=message):
    lib.read(path)


def test_a_compressed_matlab_array_without_its_end_is_refused():
  content = zlib.compress(mat()[128:])[:-3]
  data = mat()[:128] + struct.pack("<II", 15, len(content)) + content
  with pytest.raises(ValueError, match="cut off, or too large"):
    matlab.Reader(data).arrays(["event_list"])


VOC = """<?xml version="1.0" encoding="utf-8"?>
<annotation verified="yes">
  <folder>{folder}</folder><filename>{name}</filename><path>/home/x/a.jpg</path>
  <size><width>640</width><height>480</height><depth>3</depth></size>
  <object>
    <name>Face</name><pose>Frontal</pose><truncated>1</truncated>
    <difficult>1</difficult><occluded>1</occluded>
    <bndbox><xmin>10</xmin><xmax>30.5</xmax><ymin>20</ymin><ymax>60</ymax>
    </bndbox>
    <part><name>nose</name><bndbox><xmin>0</xmin></bndbox></part>
  </object>
  <object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>
</annotation>"""


def test_voc_as_tools_write_it(tmp_path, caplog):
  for where, folder, name in (
    ("flat.xml", "VOC2012", "a.jpg"),
    ("event.xml", "0--Parade", "a.jpg"),
    ("deep/b.xml", "0--Parade", "b.png"),
    ("deep/named.xml", "0--Parade", "in\\c.jpg"),
  ):
    put(tmp_path, where, VOC.format(folder=folder, name=name))
  put(tmp_path, "._a.xml", "left by a Mac")
  with caplog.at_level(logging.WARNING):
    annotations = lib.read(tmp_path)
  assert "no faces: 4 'dog'" in caplog.text
  assert [one.file for one in annotations] == [
    "deep/b.png", "in/c.jpg", "0--Parade/a.jpg", "a.jpg",
  ]  # fmt: skip
  for one in annotations:
    assert one.size == (640, 480)
    np.testing.assert_array_equal(one.boxes, [[10, 20, 30.5, 60]])
    said = {k: v.tolist() for k, v in one.attributes.items() if v[0] >= 0}
    assert said == {"invalid": [1], "occlusion": [1]}
  (one,) = lib.read(tmp_path / "deep/b.xml")
  assert one.file == "0--Parade/b.png"
  unsized = VOC.format(folder="", name="a").replace("640", "0")
  path = put(tmp_path, "u.xml", unsized.replace("480", "0"))
  assert lib.read(path)[0].size is None


def test_hostile_xml_is_refused_before_it_is_read(tmp_path):
  secret = put(tmp_path, "secret.txt", "secret")
  laughs = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
  for doctype in (
    f'[<!ENTITY l0 "ha">{laughs}]',
    f'[<!ENTITY l9 SYSTEM "file://{secret}">]',
    'SYSTEM "http://127.0.0.1/x.dtd"',
  ):
    data = f"<!DOCTYPE a {doctype}><annotation>&l9;</annotation>".encode()
    with pytest.raises(DataError, match="a.xml has a DOCTYPE"):
      voc.parse(data, "a.xml")
  deep = b"<a>" * 100_000 + b"</a>" * 100_000
  assert voc.parse(deep, "deep.xml").tag == "a"


def coco(**changes):
  image = {"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}
  entry = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40.5]}
  content = dict(
    images=[image],
    annotations=[entry],
    categories=[{"id": 3, "name": "Face"}, {"id": 4, "name": "dog"}],
  )
  for name, change in changes.items():
    part = {"image": image, "entry": entry}.get(name)
    if part is None:
      content[name] = change
    else:
      part.update(change)
  return json.dumps(content)


def test_coco_as_tools_write_it(tmp_path):
  points = [1, 2, 2, 3, 4, 1, 0, 0, 0, 5, 6, 2, 7, 8.5, 2]
  content = json.loads(coco())
  first = content["annotations"][0]
  content["annotations"] += [
    {**first, "category_id": 4, "bbox": "of a dog"},
    {**first, "keypoints": points, "iscrowd": 1, "score": 0.5},
    {**first, "ignore": 0, "attributes": {"easy": True, "colour": "red"}},
  ]
  content["images"].append({"id": "b", "file_name": "b.jpg", "width": 0})
  a, b = lib.read(put(tmp_path, "x.json", json.dumps(content)))
  assert (a.size, b.size) == ((64, 48), None)
  np.testing.assert_array_equal(a.boxes, [[10, 20, 40, 60.5]] * 3)
  np.testing.assert_array_equal(
    a.landmarks[1], [[1, 2], [3, 4], [NAN, NAN], [5, 6], [7, 8.5]]
  )
  np.testing.assert_array_equal(a.visibility[1], [1, 0, -1, 1, 1])
  np.testing.assert_array_equal(a.quality, [NAN, 0.5, NAN])
  assert a.attributes["invalid"].tolist() == [-1, 1, 0]
  assert a.keep["easy"].tolist() == [False, False, True]
  assert b.keep["easy"].shape == (0,)
  only = coco(categories=[{"id": 3, "name": "head"}])
  assert len(lib.read(put(tmp_path, "y.json", only))[0].boxes) == 1


def test_coco_says_what_other_programs_look_for(tmp_path):
  rows = [
    Face((1, 2, 4, 6), attributes={"invalid": 1}),
    Face((1, 2, 1, 6), ((1, 2),) * 5, (1,) * 5),
  ]
  annotations = [annotation("a.jpg", rows[:1]), annotation("b.jpg", rows)]
  lib.write(tmp_path / "x.json", annotations, "coco")
  content = json.loads((tmp_path / "x.json").read_text())
  assert [image["id"] for image in content["images"]] == [1, 2]
  _, one, two = content["annotations"]
  assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3]
  assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 2]
  assert (one["iscrowd"], one["ignore"], one["area"]) == (1, 1, 12)
  assert (two["iscrowd"], two["area"], two["num_keypoints"]) == (0, 0, 5)
  assert "ignore" not in two and "keypoints" not in one
  assert content["categories"][0]["name"] == "face"


# Files and annotations that are refused.

BAD = [
  ("wider", "", "is empty"),
  ("wider", " \n\r\n", "is empty"),
  ("wider", b"a.jpg\n1\n\xff 2 3 4", "line 3: byte 0xff is not UTF-8"),
  ("wider", "a.jpg\n1\n1 2 3 4\0", "zero bytes"),
  ("wider", "a.jpg\n", "ends after line 1"),
  ("wider", "a.jpg\nb.jpg\n", "line 2: the number of faces"),
  ("wider", "a.jpg\n-1\n", "line 2: the number of faces"),
  ("wider", "a.jpg\n2\n1 2 3 4\n", "ends after 1 of the 2 faces of line 1"),
  ("wider", "a.jpg\n2\n1 2 3 4\nb.jpg\n1\n1 2 3 4",
   "line 4: 'b.jpg' comes after 1 of the 2 faces of line 1"),
  ("wider", "a.jpg\n1\n1 2 3 4\n\n5 6 7 8\n", "line 5: a path of a picture"),
  ("wider", "a.jpg\n0\n1 2 3 4\n", "line 3: a face, of a picture that has 0"),
  ("wider", "a.jpg\n1\n1 2 x 4\n", "line 3: '1 2 x 4' is to be numbers"),
  ("wider", "a.jpg\n1\n1 2 nan 4\n", "line 3: .* is to be numbers"),
  ("wider", "a.jpg\n1\n1 2 1_0 4\n", "line 3: .* is to be numbers"),
  ("wider", "a.jpg\n1\n1 2 3-4 4\n", "line 3: .* is to be numbers"),
  ("wider", "a.jpg\n1\n1 2 3\n", "line 3: 3 numbers; a face has 4"),
  ("wider", "a.jpg\n1\n1 2 3 1e999\n", "line 3: its box is not of pixels"),
  ("wider", "a.jpg\n1\n1 2 3 4 3 0 0 0 0 0\n", "line 3: blur is 0 to 2"),
  ("wider", "a.jpg\n1\n1 2 3 4 0 0 0 0.5 0 0\n", "line 3: invalid is 0 to 1"),
  ("wider", "../a.jpg\n0\n", "line 1: .*not below the folder"),
  ("wider", "C:\\a.jpg\n0\n", "line 1: .*not below the folder"),
  ("wider", "a.jpg\n0\n\n.\\a.jpg\n0\n",
   "line 4: a.jpg is in .*line 1 already"),
  ("retinaface", "1 2 3 4\n", "line 1: a line `# path` is to come before"),
  ("retinaface", "# a.jpg\n\n1 2 3\n", "line 3: 3 numbers"),
  ("retinaface", "# a.jpg\n1 2 3 4 1\n", "line 2: 5 numbers"),
  ("retinaface", "# a.jpg\n1 2 3 4" + " 1 2 2" * 5, "line 2: the flag .* is 2"),
  ("retinaface", "# a.jpg\n1 2 3 4" + " 1e7 2 0" * 5, "line 2: its points are"),
  ("retinaface", "# a.jpg\n1 2 3 four\n", "line 2: .*is to be numbers"),
  ("retinaface", "#\n", "line 1: the path of a picture is empty"),
  ("retinaface", "# /a.jpg\n", "line 1: .*not below the folder"),
  ("retinaface", "# a.jpg\n# a.jpg\n", "line 2: a.jpg is in .*line 1 already"),
  ("retinaface", "# a.jpg 0 5\n", "0 x 5 is no size"),
  ("voc", "<annotation>", "is no XML.*line 1"),
  ("voc", "\u20ac", "is no XML"),
  ("voc", '<?xml version="1.0" encoding="x"?><a/>', "is no XML"),
  ("voc", "<a/>", "root is 'a'"),
  ("voc", "<annotation/>", "no `filename`"),
  ("voc", VOC.format(folder="", name="../a.jpg"), "not below the folder"),
  ("voc", VOC.format(folder="", name="a").replace("480", "-1"), "no size"),
  ("voc", VOC.format(folder="", name="a").replace("480", "1.5"), "no size"),
  ("voc", VOC.format(folder="", name="a").replace(">20<", ">x<"),
   "line 5, ymin: 'x' is to be numbers"),
  ("voc", VOC.format(folder="", name="a").replace(">20<", ">2 0<"), "2 numb"),
  ("voc", VOC.format(folder="", name="a").replace(">20<", ">9e9<"),
   "line 5: its box is not of pixels"),
  ("voc", VOC.format(folder="", name="a").replace("Face", "cat"),
   "no object named 'face', but 1 'cat', 1 'dog'"),
  ("coco", "{", "is no JSON: .*line 1"),
  ("coco", "[" * 100_000, "is no JSON"),
  ("coco", '{"images": [NaN]}', "NaN is no number"),
  ("coco", "[1]", "no `images`"),
  ("coco", "{}", "no `images`"),
  ("coco", '{"images": []}', "has no images"),
  ("coco", '{"images": {}}', "`images` is no list"),
  ("coco", '{"images": [3]}', r"images\[0\]: an object"),
  ("coco", coco(image={"id": [1]}), r"images\[0\]: `id`"),
  ("coco", coco(image={"file_name": 3}), r"images\[0\]: `file_name`"),
  ("coco", coco(image={"file_name": "/a"}), r"images\[0\]: .*not below"),
  ("coco", coco(image={"width": None}), r"images\[0\]: `width` and `height`"),
  ("coco", coco(image={"width": 6.5}), "no size"),
  ("coco", coco(images=[{"id": 7, "file_name": "a"}] * 2), "7 is there twice"),
  ("coco", coco(images=[{"id": i, "file_name": "a"} for i in (7, 8)]),
   r"images\[1\]: a is in .*images\[0\] already"),
  ("coco", coco(entry={"image_id": 8}), r"annotations\[0\]: .* no image .* 8"),
  ("coco", coco(entry={"bbox": [1, 2, 3]}), r"annotations\[0\]: `bbox`"),
  ("coco", coco(entry={"bbox": [1, 2, 3, "4"]}), "'4' is no number"),
  ("coco", coco(entry={"bbox": [1, 2, 3, True]}), "'True' is no number"),
  ("coco", coco(entry={"bbox": [1, 2, 3, 10**400]}), "too great"),
  ("coco", coco(entry={"bbox": [1, 2, 3, 1e7]}), r"annotations\[0\]: its box"),
  ("coco", coco(entry={"keypoints": [0] * 51}), "list of 15 numbers"),
  ("coco", coco(entry={"keypoints": [1, 2, 3] * 5}), "0, 1 or 2, not 3"),
  ("coco", coco(entry={"attributes": [1]}), "`attributes`"),
  ("coco", coco(entry={"attributes": {"blur": "1"}}), "`blur`: '1' is no num"),
  ("coco", coco(entry={"attributes": {"blur": 5}}), "blur is 0 to 2"),
  ("coco", coco(entry={"score": -1}), "quality is less than 0"),
  ("coco", coco(categories=[{"name": n} for n in "ab"]), "no category 'face'"),
  ("labels", "file,x0\n", "no rows"),
  ("labels", "file,x0,y0,x1,y1\na.jpg,5,5,5,9\n", "a.jpg: the box .*is empty"),
  ("labels", 'file,points\na.jpg,"1,2;3,2;2,3;1,4;3,4"\n', "a.jpg: .*no box"),
  ("labels", "file,x0,y0,x1,y1\n../a.jpg,1,2,3,4\n", "not below the folder"),
]  # fmt: skip


@pytest.mark.parametrize("name, content, message", BAD)
def test_what_cannot_be_right_is_refused(tmp_path, name, content, message):
  place = "voc/a.xml" if name == "voc" else NAMES[name]
  path = put(tmp_path, place, content)
  with pytest.raises(DataError, match=message) as caught:
    lib.read(tmp_path / NAMES[name], name)
  assert "no size" in message or str(path.parent) in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_damaged_files_are_read_or_refused(name, data):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, NAMES[name])
    rows = [Face((1, 2, 30, 40), ((1, 2),) * 5, (1,) * 5, LEVELS)]
    lib.write(path, [annotation("e/a.jpg", rows, (50, 60))], name)
    file = path / "e/a.xml" if name == "voc" else path
    content = file.read_bytes()
    if name == "wider_mat":  # not compressed, or all of it is as well as cut
      content = mat()
    for _ in range(data.draw(st.integers(1, 3))):
      start = data.draw(st.integers(0, len(content)))
      stop = start + data.draw(st.integers(0, 9))
      new = data.draw(
        st.binary(max_size=4)
        | st.sampled_from((b"-1", b"nan", b"[]", b"\n", b"<", b"9" * 30))
      )
      content = content[:start] + new + content[stop:]
    file.write_bytes(content)
    try:
      lib.read(path, name)
    except DataError as error:
      assert str(error)


def test_paths_and_formats_that_are_none_are_refused(tmp_path):
  with pytest.raises(DataError, match="no file or folder .*nowhere"):
    lib.read(tmp_path / "nowhere")
  with pytest.raises(DataError, match="holds no XML"):
    lib.read(tmp_path)
  path = put(tmp_path, "a.txt", "a.jpg\n0\n")
  with pytest.raises(
    DataError, match="no format 'yolo'; the formats are wider"
  ):
    lib.read(path, "yolo")
  with pytest.raises(DataError, match="no format 'yolo'"):
    lib.write(tmp_path / "b", [annotation("a.jpg")], "yolo")


@pytest.mark.parametrize(
  "name, content, expected",
  [
    ("x.txt", "# a.jpg\n", "retinaface"),
    ("x.txt", "\ufeff\n# a.jpg\n", "retinaface"),
    ("x", "a.jpg\n\n12\n", "wider"),
    ("x.txt", "\n {}", "coco"),
    ("x.data", "<annotation/>", "voc"),
    ("x", b"MATLAB 5.0", "wider_mat"),
    ("x.MAT", "", "wider_mat"),
    ("x.json", "", "coco"),
    ("x.csv", "", "labels"),
    ("x.xml", "", "voc"),
  ],
)
def test_formats_are_guessed_by_name_and_content(
  tmp_path, name, content, expected
):
  assert lib.guess(put(tmp_path, name, content)).format == expected


def test_formats_that_are_not_told_are_asked_for(tmp_path, caplog):
  with pytest.raises(DataError, match="none of the formats wider.*Say which"):
    lib.guess(put(tmp_path, "x.txt", "a.jpg 1 2 3 4\n"))
  names = dict(NAMES, voc="labels")
  assert {n: lib.guess_by_name(f) for n, f in names.items()} == {
    n: n for n in FORMATS
  }
  for name in ("x.txt", "x.xml", "x.yaml"):
    with pytest.raises(DataError, match="does not tell which"):
      lib.guess_by_name(name)
  put(tmp_path, "folder/labels.csv", "file\na.jpg\n")
  with caplog.at_level(logging.INFO):
    lib.read(tmp_path / "folder")
  assert "read as labels.csv of scenes: a folder with labels.csv" in caplog.text


@pytest.mark.parametrize(
  "name, files, message",
  [
    *[(name, [], "no picture") for name in FORMATS],
    *[(name, ["a.jpg"] * 2, "a.jpg would be there twice") for name in FORMATS],
    ("wider", ["1 2"], "'1 2' has a name of numbers only"),
    ("retinaface", ["a.b 1 2"], "ends like a width and a height"),
    ("voc", ["a.jpg", "a.png"], "a.jpg and a.png would both be in a.xml"),
    ("wider_mat", ["a.png"], "a.png is no .jpg"),
  ],
)
def test_what_a_format_cannot_name_is_not_written(
  tmp_path, name, files, message
):
  path = tmp_path / NAMES[name]
  with pytest.raises(DataError, match=message):
    lib.write(path, [annotation(file) for file in files], name)
  assert not [*tmp_path.iterdir()]


def test_files_that_would_be_lost_are_not_written(tmp_path):
  put(tmp_path, "voc/mine.txt", "mine")
  with pytest.raises(DataError, match="voc exists"):
    lib.write(tmp_path / "voc", [annotation("a.jpg")], "voc")
  kept = annotation("a.jpg", [Face((1, 2, 3, 4), keep={"easy": True})])
  with pytest.raises(
    DataError, match="settings easy .*like wider_face_val.mat"
  ):
    lib.write(tmp_path / "val.mat", [kept], "wider_mat")
  assert not (tmp_path / "val.mat").exists()


@pytest.mark.parametrize(
  "face, size, message",
  [
    (Face((1, 2, 3, NAN)), None, "a.jpg, face 0: its box is not of pixels"),
    (Face((1, 2, 3, 4), ((1, 2e6),) * 5), None, "its points"),
    (Face((1, 2, 3, 4), visible=(2,) * 5), None, "visibility"),
    (Face((1, 2, 3, 4), attributes={"pose": 2}), None, "pose is 0 to 1"),
    (Face((1, 2, 3, 4), quality=-0.5), None, "quality"),
    (Face((1, 2, 3, 4)), (0, 5), "0 x 5 is no size"),
  ],
)
def test_annotations_are_checked(face, size, message):
  with pytest.raises(DataError, match=message):
    annotation("a.jpg", [face], size)


def test_names_are_checked():
  assert annotation("a\\b//./c d.jpg").file == "a/b/c d.jpg"
  assert annotation("1:2/é.jpg").file == "1:2/é.jpg"
  for name in ("", " ", ".", "a/..", "/a", "\\a", "c:/a", "x/../../a"):
    with pytest.raises(DataError, match="empty|not below"):
      annotation(name)
  for name in ("a\nb", "a\0", "a\u2028b", "a\udc80", "a\x85b"):
    with pytest.raises(DataError, match="cannot hold"):
      annotation(name)


def test_half_known_points_are_unknown():
  one = annotation(
    "a.jpg", [Face((1, 2, 3, 4), ((1, NAN), *((5, 6),) * 4), (1, 0, 1, 1, 1))]
  )
  assert np.isnan(one.landmarks[0, 0]).all()
  assert one.visibility.tolist() == [[-1, 0, 1, 1, 1]]


# Pictures, and training on them.


@pytest.fixture
def pictures(tmp_path):
  """A folder of drawn pictures, and annotations of their faces."""
  folder = tmp_path / "pictures"
  boxes = {
    "0--Parade/a.jpg": [(10, 12, 40, 52), (60, 20, 75, 40), (5, 5, 5, 9)],
    "0--Parade/b.png": [(-5, 10, 20, 30), (200, 5, 210, 15)],
    "none.png": [(3, 4, 3.5, 4.5)],
    "empty.png": [],
  }
  annotations = []
  for i, (name, of) in enumerate(boxes.items()):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (100, 80), (i * 60, 0, 0)).save(folder / name)
    rows = [
      Face(
        box,
        [(box[0] + dx, box[1] + dy) for dx, dy in
         ((5, 5), (15, 5), (10, 10), (6, 15), (14, 15))] if not k else
        ((NAN, NAN),) * 5,
        (0, 1, 1, 1, 1),
        dict(LEVELS, blur=k) if i == 0 else {},
        {"hard": k != 1},
      )
      for k, box in enumerate(of)
    ]  # fmt: skip
    annotations.append(annotation(name, rows, keep=("hard",)))
  return folder, annotations


def test_sizes_are_those_of_the_pictures(pictures):
  folder, annotations = pictures
  assert lib.missing(annotations, folder) == []
  assert not any(one.outside.any() for one in annotations)
  sized = lib.with_sizes(annotations, folder)
  assert {one.size for one in sized} == {(100, 80)}
  # In part is inside; a degenerate box is not counted twice.
  np.testing.assert_array_equal(sized[1].outside, [False, True])
  np.testing.assert_array_equal(sized[0].valid, [True, True, False])
  counts = lib.count(sized)
  assert (counts.images, counts.faces) == (4, 6)
  assert (counts.degenerate, counts.outside) == (1, 1)
  assert counts.without_landmarks == 3
  same(lib.with_sizes(sized, folder), sized)
  wrong = [sized[0]._replace(size=(80, 100))]
  with pytest.raises(DataError, match="has 100 x 80 pixels.*say 80 x 100"):
    lib.with_sizes(wrong, folder)
  exif = Image.Exif()
  exif[0x0112] = 6  # to be shown turned by a quarter
  Image.new("RGB", (60, 40)).save(folder / "turned.jpg", exif=exif)
  (turned,) = lib.with_sizes([annotation("turned.jpg")], folder)
  assert turned.size == (40, 60)
  (folder / "empty.png").unlink()
  assert lib.missing(annotations, folder) == ["empty.png"]
  with pytest.raises(
    DataError, match="1 of 4 pictures are not in .*: empty.png"
  ):
    lib.with_sizes(annotations, folder)


@pytest.mark.parametrize(
  "box, outside",
  [
    ((-9, 2, 0, 9), True),
    ((-9, 2, 0.5, 9), False),
    ((2, -9, 9, 0), True),
    ((100, 2, 110, 9), True),
    ((99.5, 2, 110, 9), False),
    ((2, 80, 9, 90), True),
    ((-9, -9, 200, 200), False),
    ((0, 0, 0, 9), False),
  ],
)
def test_a_box_is_outside_if_it_shows_nothing(box, outside):
  one = annotation("a.jpg", [Face(box)], (100, 80))
  assert one.outside.tolist() == [outside]
  assert one.valid.tolist() == [not outside and box[0] < box[2]]
  assert not one._replace(size=None).outside.any()


def test_a_labels_csv_is_trained_on(pictures, data_config):
  folder, annotations = pictures
  sized = lib.with_sizes(annotations, folder)
  assert lib.to_labels_csv(sized, folder / "labels.csv") == 3
  source = FolderScenes(folder, max_faces=3)
  assert [source.name(i) for i in range(4)] == [one.file for one in sized]
  assert source.attribute_names == (
    "blurred", "heavily_blurred", "exaggerated_expression",
    "extreme_illumination", "invalid", "occluded", "heavily_occluded",
    "atypical_pose", "hard",
  )  # fmt: skip
  a, b, none, empty = (source[i] for i in range(4))
  np.testing.assert_array_equal(
    a["boxes"], [[10, 12, 40, 52], [60, 20, 75, 40], [0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(a["valid"], [True, True, False])
  np.testing.assert_array_equal(a["landmarks"][0, :5], sized[0].landmarks[0])
  assert np.isnan(a["landmarks"][1:]).all()
  np.testing.assert_array_equal(
    a["attributes"][:2],
    [[0, 0, 1, 0, 0, 1, 0, 1, 1], [1, 0, 1, 0, 0, 1, 0, 1, 0]],
  )
  np.testing.assert_array_equal(b["boxes"][0], [-5, 10, 20, 30])
  assert b["attributes"][0].tolist() == [-1] * 8 + [1]
  assert b["valid"].sum() == 1
  assert not none["valid"].any() and not empty["valid"].any()
  config = data_config(path=str(folder), align="whole", max_faces=2,
                       image_size=50)  # fmt: skip
  record = sources.open_source(config)[0]
  np.testing.assert_allclose(
    record["boxes"][0], [5, 11, 20, 31], atol=1e-4
  )  # half as large, below a black bar of 5 pixels


def test_a_labels_csv_of_others_is_read(tmp_path):
  content = (
    "file;identity;x0;y0;x1;y1;easy;blurred;heavily_blurred;occluded;points\n"
    "a\\b.jpg;ann;1;2;30.5;40;1;1;0;;\n"
    'a\\b.jpg;;5;6;70;80;;1;;1;"1,2;3,4;5,6;7,8;9,10.1"\n'
    "c.jpg;;;;;;;;;;\n"
  )
  path = put(tmp_path, "labels.csv", content)
  b, c = lib.read(path)
  assert (b.file, c.file, len(c.boxes)) == ("a/b.jpg", "c.jpg", 0)
  np.testing.assert_array_equal(b.boxes, [[1, 2, 30.5, 40], [5, 6, 70, 80]])
  np.testing.assert_array_equal(
    b.landmarks[1], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.1]]
  )
  assert np.isnan(b.landmarks[0]).all()
  assert b.keep["easy"].tolist() == [True, False]
  # A level is known only where all of its columns are.
  assert b.attributes["blur"].tolist() == [1, -1]
  assert b.attributes["occlusion"].tolist() == [-1, -1]


def test_a_labels_csv_says_no_more_than_is_known(tmp_path):
  flat = (1, 2, 1 + 1e-7, 9)  # of no width, as it is written
  bare = [annotation("a, b.jpg", [Face((1.25, 2, 3.5, 4)), Face(flat)])]
  assert lib.to_labels_csv(bare, tmp_path / "labels.csv") == 1
  lines = (tmp_path / "labels.csv").read_text().splitlines()
  assert lines == ["file,x0,y0,x1,y1", '"a, b.jpg",1.25,2,3.5,4']
