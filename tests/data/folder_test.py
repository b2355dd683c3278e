"""Folders with and without labels.csv, and every way they can be wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, sources
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
    ("file,x0,y0,x1,y1\na.jpg,9,0,3,5\n", r"a\.jpg: the box .* is empty"),
    ("file,x0,y0,x1,y1\na.jpg,l,0,3,5\n", r"a\.jpg: could not convert"),
    ('file,points\na.jpg,"1,2;3"\n', r"a\.jpg: .*holds 3 numbers"),
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
