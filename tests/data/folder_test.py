"""Folders with and without labels.csv, and every way they can be wrong."""

import shutil
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxpriv.data import account, alignment, sources
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.records import DOMAINS, DataError


def _save(path, seed, make_picture, size=32):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(make_picture(seed, size)).save(path)


def test_labels_are_read(people_folder):
  source = FolderSource(people_folder)
  assert len(source) == 24
  assert source.identity_names == tuple(f"person{i}" for i in range(8))
  np.testing.assert_array_equal(source.identities, np.arange(24) // 3)
  assert source.attribute_names == ("Male", "Eyeglasses", "Young")
  record = source[5]
  assert record["identity"] == 1 and record["identity"].dtype == np.int32
  np.testing.assert_array_equal(record["attributes"], (0, -1, 1))
  assert source[12]["attributes"][2] == 0  # 32 years
  assert source.describe(5).endswith("05.jpg")
  assert np.isfinite(record["landmarks"][:5]).all()
  assert record["image"].shape == (48, 48, 3)


def test_sets_choose_rows(people_folder):
  source = FolderSource(people_folder, ("odd",))
  assert len(source) == 12
  with pytest.raises(DataError, match="no set 'odds'; its sets are even, odd"):
    FolderSource(people_folder, ("odds",))


def test_a_folder_per_person(tmp_path, make_picture):
  for i, name in enumerate(("ann/1.png", "ann/2.png", "bob/1.png", "3.png")):
    _save(tmp_path / name, i, make_picture)
  source = FolderSource(tmp_path)
  assert source.identity_names == ("ann", "bob")
  assert len(source) == 4
  named = {source.describe(i)[len(str(tmp_path)) + 1 :]: source.identities[i]
           for i in range(4)}  # fmt: skip
  assert named == {"3.png": -1, "ann/1.png": 0, "ann/2.png": 0, "bob/1.png": 1}


def test_a_flat_folder_has_people_unknown(tmp_path, make_picture):
  _save(tmp_path / "a.png", 0, make_picture)
  _save(tmp_path / "b.JPG", 1, make_picture)
  np.testing.assert_array_equal(FolderSource(tmp_path).identities, [-1, -1])


def test_any_name_of_a_folder_is_a_person(tmp_path, make_picture):
  names = ("Na", "Nan", "ann", "cat", "dog", "human", "wild")
  for i, name in enumerate(names):
    _save(tmp_path / name / "1.png", i, make_picture)
  source = FolderSource(tmp_path)
  assert source.identity_names == names
  np.testing.assert_array_equal(source.identities, np.arange(len(names)))
  assert {DOMAINS[source[i]["domain"]] for i in range(len(names))} == {"human"}


def test_hidden_folders_and_files_are_left_alone(tmp_path, make_picture):
  for name in (".thumbnails/a.png", "ann/.cache/a.png", "ann/._a.png",
               "ann/a.png"):  # fmt: skip
    _save(tmp_path / ".home" / name, 0, make_picture)
  source = FolderSource(tmp_path / ".home")
  assert len(source) == 1 and source.identity_names == ("ann",)


def test_missing_and_empty_folders(tmp_path):
  with pytest.raises(DataError, match="There is no folder .*nowhere"):
    FolderSource(tmp_path / "nowhere")
  with pytest.raises(DataError, match="neither labels.csv nor images"):
    FolderSource(tmp_path)
  with pytest.raises(DataError, match="needs a labels.csv"):
    FolderSource(tmp_path, ("x",))


@pytest.mark.parametrize(
  "text, message",
  [
    ("name,set\na.jpg,x\n", "no column `file`; its columns are name, set"),
    ("", "no column `file`; its columns are none"),
    ("file\n", "a header and no rows"),
    ("file,gender\na.jpg,Q\n", "column gender: 'Q' is not M, F or empty"),
    ("file,age\na.jpg,old\n", "column age: 'old' is not a number"),
    ("file,age\na.jpg,-1\n", "column age: '-1' is not a number"),
    ("file,smile\na.jpg,2\n", "column smile: '2' is not 0, 1 or empty"),
    ("file,smile\na.jpg,1\na.jpg,-1\n", "smile: it holds -1 and no 0. Write"),
    ("file,Bald\na.jpg,1\na.jpg,-1\n", "column Bald: it holds -1 and no 0"),
    ("file,domain\na.jpg,fish\n", "column domain: 'fish' is not one of"),
    ("file,x0,y0,x1,y1\na.jpg,l,0,3,5\n", r"a\.jpg: could not convert"),
    ('file,points\na.jpg,"1,2;3"\n', r"a\.jpg: .*holds 3 numbers"),
    ("file,identity\na.jpg,a,b\n", "line 2: a row of 3 cells, and the header"),
    ("file,identity,identity\na.jpg,a,b\n", "two columns of one name: ident"),
    ("file,gender,Male\na.jpg,M,1\n", "says Male in two columns"),
    ('file,identity\na.jpg,"b\n', "line 2: unexpected end of data"),
    ("file,identity\na\0.jpg,b\n", "it holds zero bytes"),
    ("file,identity\n../a.jpg,b\n", "names ../a.jpg, which is not below"),
    ("file,identity\n/etc/a.jpg,b\n", "names /etc/a.jpg, which is not below"),
    (
      "file,age\na.jpg,inf\n",
      "'inf' is not a number of years, in the row of a",
    ),
  ],
)
def test_what_is_wrong_with_labels_is_said(tmp_path, text, message):
  (tmp_path / "labels.csv").write_text(text)
  with pytest.raises(DataError, match=message) as error:
    FolderSource(tmp_path)
  assert "labels.csv" in str(error.value)


def test_sets_need_their_column(tmp_path):
  (tmp_path / "labels.csv").write_text("file\na.jpg\n")
  with pytest.raises(DataError, match="needs a column `set`"):
    FolderSource(tmp_path, ("x",))


def test_only_the_column_file_is_needed(tmp_path, make_picture):
  _save(tmp_path / "a.png", 0, make_picture)
  (tmp_path / "labels.csv").write_text("file\na.png\na.png\n")
  source = FolderSource(tmp_path)
  assert len(source) == 2 and source.attribute_names == ()
  np.testing.assert_array_equal(source.identities, [-1, -1])
  np.testing.assert_array_equal(source[1]["image"], make_picture(0, 32))


def test_more_columns_of_0_and_1_are_attributes(tmp_path, make_picture):
  _save(tmp_path / "a.png", 0, make_picture)
  rows = "file,Wearing_Hat,note,glasses\na.png,1,hello,\na.png,-1,,0\n"
  rows += "a.png,0,,\n"
  (tmp_path / "labels.csv").write_text(rows)
  source = FolderSource(tmp_path)
  assert source.attribute_names == ("Eyeglasses", "Wearing_Hat")
  np.testing.assert_array_equal(
    source.attribute_values, [[-1, 1], [0, -1], [-1, 0]]
  )


def test_animals_are_a_domain_and_nobody(tmp_path, make_picture):
  _save(tmp_path / "a.png", 0, make_picture)
  rows = "file,identity\na.png,cat\na.png,ann\na.png,-1\n"
  (tmp_path / "labels.csv").write_text(rows)
  source = FolderSource(tmp_path)
  np.testing.assert_array_equal(source.identities, [-1, 0, -1])
  domains = [DOMAINS[source[i]["domain"]] for i in range(3)]
  assert domains == ["cat", "human", "human"]


def test_a_person_may_be_called_na(tmp_path, make_picture):
  _save(tmp_path / "a.png", 0, make_picture)
  rows = "file,identity,domain\na.png,Na,\na.png,,\na.png,wild,human\n"
  (tmp_path / "labels.csv").write_text(rows)
  source = FolderSource(tmp_path)
  assert source.identity_names == ("Na", "wild")
  np.testing.assert_array_equal(source.identities, [0, -1, 1])


@pytest.mark.parametrize("place", ["0,0", "100,200"])
def test_points_in_one_place_spoil_no_other_face(tmp_path, make_picture, place):
  _save(tmp_path / "a.png", 0, make_picture, 60)
  template = alignment.arcface_template(40) + 10
  five = ";".join(f"{x},{y}" for x, y in template)
  header = "file,x0,y0,x1,y1,points"
  face = f'a.png,10,10,50,50,"{five}"'
  lost = f'a.png,10,10,50,50,"{";".join([place] * 5)}"'
  bare = "a.png,10,10,50,50,"
  (tmp_path / "labels.csv").write_text("\n".join([header, *[face] * 5, bare]))
  expected = FolderSource(tmp_path).photograph(5)
  rows = [header, *[face] * 5, bare, lost]
  (tmp_path / "labels.csv").write_text("\n".join(rows))
  source = FolderSource(tmp_path)
  np.testing.assert_array_equal(source.photograph(5).square, expected.square)
  framed = sources.Framed(source, 32)
  np.testing.assert_array_equal(framed[6]["image"], framed[5]["image"])
  assert framed[6]["image"].any()


def test_a_face_without_box_takes_the_median_of_its_set(tmp_path, make_picture):
  for name, size in (("a", 60), ("b", 60), ("c", 60), ("d", 60), ("e", 80)):
    _save(tmp_path / f"{name}.png", 0, make_picture, size)
  rows = ["file,set,x0,y0,x1,y1", "a.png,s,10,10,20,20", "b.png,s,10,10,30,30",
          "c.png,s,12,12,32,32", "d.png,s,,,,", "e.png,s,,,,",
          "d.png,t,,,,"]  # fmt: skip
  (tmp_path / "labels.csv").write_text("\n".join(rows))
  source = FolderSource(tmp_path)
  median = source.photograph(3).square
  np.testing.assert_allclose(median, source.photograph(1).square)
  assert np.isnan(source.photograph(4).square).all()  # another image size
  assert np.isnan(source.photograph(5).square).all()  # another set
  assert np.isnan(source[3]["box"]).all()  # the record does not pretend


def test_several_faces_of_one_image(tmp_path, make_picture):
  _save(tmp_path / "group.png", 0, make_picture, 64)
  rows = "file,x0,y0,x1,y1\ngroup.png,0,8,20,28\ngroup.png,40,8,60,28\n"
  (tmp_path / "labels.csv").write_text(rows)
  framed = sources.Framed(FolderSource(tmp_path), 32)
  assert len(framed) == 2
  assert (framed[0]["image"] != framed[1]["image"]).any()


def test_unreadable_files_are_counted_and_named(
  people_folder, data_config, caplog
):
  (people_folder / "00.jpg").unlink()
  (people_folder / "03.jpg").write_text("this is text")
  whole = (people_folder / "06.jpg").read_bytes()
  (people_folder / "06.jpg").write_bytes(whole[: len(whole) // 2])
  config = data_config(path=str(people_folder), max_bad_share=0.2)
  source = sources.open_source(config)
  assert len(source) == 21 and len(source.unreadable) == 3
  for name, why in (("00.jpg", "does not exist"), ("03.jpg", "not an image"),
                    ("06.jpg", "truncated")):  # fmt: skip
    assert [n for n in source.unreadable if name in n and why in n]
    assert name in caplog.text
  # Names and records still belong together.
  assert source.describe(0).endswith("01.jpg")
  assert source.describe(20).endswith("23.jpg")
  np.testing.assert_array_equal(source.identities[:2], [0, 0])


def test_too_many_unreadable_files_stop_the_run(people_folder, data_config):
  for i in range(7):
    (people_folder / f"{i:02d}.jpg").write_text("text")
  config = data_config(path=str(people_folder), max_bad_share=0.2)
  with pytest.raises(DataError) as error:
    sources.open_source(config)
  message = str(error.value)
  assert "7 of 24 images (29.2%)" in message and "and 2 more" in message
  assert "00.jpg" in message and "max_bad_share" in message


def test_a_folder_whose_images_are_all_unreadable(tmp_path, data_config):
  (tmp_path / "a.jpg").write_text("text")
  with pytest.raises(DataError, match="1 of 1 images"):
    sources.open_source(data_config(path=str(tmp_path), max_bad_share=1.0))


def test_copies_of_a_folder_agree(people_folder, tmp_path):
  shutil.copytree(people_folder, tmp_path / "copy")
  first, second = FolderSource(people_folder), FolderSource(tmp_path / "copy")
  for name, value in first[7].items():
    np.testing.assert_array_equal(value, second[7][name])


def _rows(folder, header, lines, **options):
  text = "\n".join([header, *lines, ""])
  (folder / "labels.csv").write_text(text, **options)
  return FolderSource(folder)


@pytest.fixture
def twelve(tmp_path, make_picture):
  """Files p0/0.png to p3/2.png."""
  names = [f"p{i // 3}/{i % 3}.png" for i in range(12)]
  for i, name in enumerate(names):
    _save(tmp_path / name, i, make_picture)
  return tmp_path, names


MISSING = ("", "-1", "-1.0", "NA", "N/A", "#N/A", "NaN", "nan", "None", "NULL",
           "null", "<NA>", "NaT")  # fmt: skip


@given(st.lists(st.sampled_from(MISSING), min_size=3, max_size=3))
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_missing_is_nobody_and_no_label(twelve, cells):
  folder, names = twelve
  lines = [f"{name},{name[:2]},1,3.5" for name in names[3:]]
  lines += [f"{n},{c},{c},{'' if c[:1] == '-' else c}"
            for n, c in zip(names, cells)]  # fmt: skip
  lines += [f"{names[3]},p1,0,40"]
  source = _rows(folder, "file,identity,Hat,age", lines)
  assert source.identity_names == ("p1", "p2", "p3")
  assert source.identities[9:12].tolist() == [-1] * 3
  assert (source.attribute_values[9:12] == -1).all()
  assert (source.attribute_values[:9] == 1).all()


def test_names_are_compared_in_one_form(twelve):
  folder, names = twelve
  form = lambda i: unicodedata.normalize("NFD" if i % 2 else "NFC", "José")
  lines = [f"{n},{form(i)} {n[:2]}" for i, n in enumerate(names)]
  source = _rows(folder, "file,identity", lines)
  assert source.identity_names == tuple(f"José p{i}" for i in range(4))
  (folder / "labels.csv").unlink()
  (folder / "p0").rename(folder / unicodedata.normalize("NFD", "José"))
  (folder / "p1").rename(folder / unicodedata.normalize("NFC", "José"))
  assert FolderSource(folder).identity_names == ("José", "p2", "p3")


def test_numbers_of_people_are_the_same_with_and_without_a_point(twelve):
  folder, names = twelve
  lines = [f"{n},{n[1]}{'.0' if i % 2 else ''}" for i, n in enumerate(names)]
  assert _rows(folder, "file,identity", lines).identity_names == tuple("0123")


def test_values_as_pandas_writes_them(twelve):
  folder, names = twelve
  yes, no = ("1.0", "True", "yes", "T", "1"), ("0.0", "False", "no", "f", "0")
  lines = [f"{n},{(yes, no)[i % 2][i // 2 % 5]}" for i, n in enumerate(names)]
  source = _rows(folder, "file,Hat", lines)
  assert source.attribute_values[:, 0].tolist() == [1, 0] * 6


def test_a_column_that_is_left_out_is_a_warning(twelve, caplog, data_config):
  folder, names = twelve
  lines = [f"{n},{'o' if i == 7 else i % 2}" for i, n in enumerate(names)]
  assert _rows(folder, "file,Hat", lines).attribute_names == ()
  (record,) = [r for r in caplog.records if "left out" in r.message]
  assert record.levelname == "WARNING"
  assert "column Hat" in record.message
  assert "'o' is not 0, 1 or empty, in the row of p2/1.png" in record.message
  config = data_config(path=str(folder), attributes=("Hat",))
  with pytest.raises(DataError, match=r"'Hat'.*in the row of p2/1\.png"):
    sources.open_source(config)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_other_programs(twelve, separator, encoding, end):
  folder, names = twelve
  rows = [
    ("file ", " identity", "set"),
    *((n, f"É {n[:2]}", "") for n in names),
  ]
  text = end.join(separator.join(row) for row in rows)
  (folder / "Labels.CSV").write_bytes(text.encode(encoding))
  source = FolderSource(folder)
  assert len(source) == 12
  assert source.identity_names == tuple(f"É p{i}" for i in range(4))


def test_an_encoding_that_is_not_utf_8_is_said(twelve):
  folder, names = twelve
  lines = [f"{n},José {n[:2]}" for n in names]
  with pytest.raises(DataError, match="line 2: byte 0xe9 is not utf-8 text"):
    _rows(folder, "file,identity", lines, encoding="cp1252")


def test_files_are_found_as_the_table_spells_them(twelve):
  folder, names = twelve
  lines = [n.replace("/", "\\") if i % 2 else f"./{n}"
           for i, n in enumerate(names)]  # fmt: skip
  source = _rows(folder, "file", lines)
  assert [source.name(i) for i in range(12)] == names
  source[11]


@pytest.mark.parametrize("cache", [True, False])
def test_every_file_is_accounted_for(twelve, data_config, make_picture, cache):
  folder, names = twelve
  for name in ("p0/a.txt", ".hidden.png", "Thumbs.db", "p9/9.png"):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"nothing")
  _save(folder / "p1" / "unnamed.jfif", 40, lambda *a: make_picture(*a), 32)
  lines = [f"{n},{'ab'[i % 2]}" for i, n in enumerate([*names, "gone.png"])]
  (folder / "labels.csv").write_text("\n".join(["file,set", *lines]))
  config = data_config(
    path=str(folder),
    sets=("a",),
    align="centre",
    max_bad_share=0.5,
    cache=cache,
    copies="refuse",
  )
  result = account.of(sources.open_source(config))
  assert result.counts() == {
    "seen": 18,
    "used": 6,
    "left_out": {
      "hidden: the name begins with a dot": 1,
      "made by the system, not by people": 1,
      "unreadable": 1,
      "no photograph (.txt)": 1,
      "of another set": 6,
      "not named in labels.csv": 2,
    },
  }
  assert result.left_out["not named in labels.csv"] == [
    "p1/unnamed.jfif",
    "p9/9.png",
  ]


def test_what_is_left_out_is_logged(twelve, data_config, caplog):
  folder, names = twelve
  lines = [f"{n},p" for n in names[:1]]
  (folder / "labels.csv").write_text("\n".join(["file,identity", *lines]))
  sources.open_source(data_config(path=str(folder), align="centre"))
  assert "1 of 12 files are used" in caplog.text
  assert "11 not named in labels.csv: p0/1.png, p0/2.png, p1/0.png, ..." in (
    caplog.text
  )


def test_the_level_of_people_can_be_chosen(tmp_path, make_picture, caplog):
  names = ("g0/ann/1.png", "g0/bob/1.png", "g1/eve/old/1.png", "g1/2.png")
  for i, name in enumerate(names):
    _save(tmp_path / name, i, make_picture)
  assert FolderSource(tmp_path).identity_names == ("g0", "g1")
  assert "2 folders hold further folders" in caplog.text
  assert "such as g0/ann" in caplog.text and "data.level=2" in caplog.text
  caplog.clear()
  source = FolderSource(tmp_path, level=2)
  assert source.identity_names == ("ann", "bob", "eve")
  assert source.identities.tolist() == [0, 1, -1, 2]
  assert "1 photographs lie outside of the folders of people" in caplog.text
  assert "1 folders hold further folders" in caplog.text
  with pytest.raises(DataError, match="data.level is 0"):
    FolderSource(tmp_path, level=0)


def test_a_folder_that_is_asked_for(tmp_path, data_config):
  with pytest.raises(DataError, match="data.path is empty: name the folder"):
    sources.open_source(data_config(path=""))
  (tmp_path / "file").write_text("")
  with pytest.raises(DataError, match="file: it is a file; check data.path"):
    sources.open_source(data_config(path=str(tmp_path / "file")))


FIVE = alignment.arcface_template(32)


@pytest.mark.parametrize(
  "cells, reason",
  [
    ("900,900,999,999", "0% of the frame that its box gives lies in"),
    ("0.2,0.2,0.7,0.8", "of one pixel at most: pixels are needed, not shares"),
    ("9,0,3,5", "the box 9, 0, 3, 5 is empty: x0 < x1"),
    ("9,3,9,5", "is empty"),
    ("inf,0,3,5", "is not of pixels"),
    ("0,0,1e30,5", "is not of pixels"),
    (FIVE[[1, 0, 2, 4, 3]], "points do not lie as those of a face. Left"),
    (FIVE[:, ::-1], "points do not lie as those of a face"),
    (FIVE[[2, 0, 1, 3, 4]], "points do not lie as those of a face"),
    (FIVE + 300, "0% of the frame that its points give lies in"),
    (FIVE * 1e7, "its points are not of pixels"),
  ],
)
def test_a_frame_that_cannot_be_right(twelve, data_config, cells, reason):
  folder, names = twelve
  blank = ",,,,"
  if not isinstance(cells, str):
    points = ";".join(f"{x},{y}" for x, y in cells)
    blank = f',,,,"{points}"'
    cells = ""
  cells = f"{cells}," if cells else blank
  lines = [f"{n},4,4,28,28," for n in names[1:]] + [f"{names[0]},{cells}"]
  (folder / "labels.csv").write_text(
    "\n".join(["file,x0,y0,x1,y1,points", *lines])
  )
  source = sources.open_source(data_config(path=str(folder)))
  assert len(source) == 11
  (told,) = source.unreadable
  assert told.startswith(f"{folder}/p0/0.png: ") and reason in told
  assert account.of(source).counts()["left_out"] == {"unreadable": 1}


def test_a_face_at_the_edge_is_a_face(twelve, data_config):
  folder, names = twelve
  lines = [f"{n},-10,-6,22,30" for n in names]
  (folder / "labels.csv").write_text("\n".join(["file,x0,y0,x1,y1", *lines]))
  assert len(sources.open_source(data_config(path=str(folder)))) == 12
