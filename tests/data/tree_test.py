"""Every file below a folder is a photograph, or has its kind."""

import os
import pathlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxpriv.data import tree
from jaxpriv.data.records import DataError


def photograph(path, image_format="png"):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", (8, 8), "teal").save(path, image_format)


def test_a_photograph_is_one_whatever_it_is_called(tmp_path):
  for name, kind in (("a.jfif", "jpeg"), ("b", "png"), ("c.dat", "webp"),
                     ("d.JPEG", "jpeg"), ("e.x", "gif"), ("f.y", "tiff"),
                     ("g.z", "bmp"), ("h.1", "jpeg2000")):  # fmt: skip
    photograph(tmp_path / name, kind)
  found = tree.walk(tmp_path)
  assert found.photographs == ["a.jfif", "b", "c.dat", "d.JPEG", "e.x", "f.y",
                               "g.z", "h.1"]  # fmt: skip
  assert not found.others


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_text_is_no_photograph(tmp_path_factory, data):
  text = data.decode("latin-1").encode("utf-8", "replace").replace(b"\xff", b"")
  place = tmp_path_factory.mktemp("text")
  (place / "notes.txt").write_bytes(b"BM" + b"x" + text)
  (place / "list").write_bytes(b"# " + text)
  assert tree.walk(place).photographs == []


def test_an_unreadable_format_of_photographs_is_not_passed_over(tmp_path):
  (tmp_path / "IMG_1.HEIC").write_bytes(b"whatever")
  (tmp_path / "IMG_2").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
  assert tree.walk(tmp_path).photographs == ["IMG_1.HEIC", "IMG_2"]


def test_the_rest_is_told_by_kind(tmp_path):
  photograph(tmp_path / "ann" / "1.png")
  for name in ("ann/1.txt", "notes.md", "ann/Thumbs.db", "ann/.1.png",
               "@eaDir/1.png", "__MACOSX/ann/1.png", ".cache/1.png",
               "film.mp4", "odd.Anna Miller"):  # fmt: skip
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_bytes(b"no picture")
  found = tree.walk(tmp_path)
  assert found.photographs == ["ann/1.png"]
  assert found.others == {
    "ann/1.txt": "no photograph (.txt)",
    "notes.md": "no photograph (.md)",
    "ann/Thumbs.db": tree.SYSTEM,
    "ann/.1.png": tree.HIDDEN,
    "@eaDir": tree.SYSTEM,
    "__MACOSX": tree.SYSTEM,
    ".cache": tree.HIDDEN,
    "film.mp4": "no photograph (.mp4)",
    "odd.Anna Miller": "no photograph",  # a suffix may be a name
  }


def test_links_are_followed_and_nothing_is_read_twice(tmp_path):
  elsewhere = tmp_path / "elsewhere"
  photograph(elsewhere / "bob" / "1.png")
  home = tmp_path / "home"
  photograph(home / "zoe" / "1.png")
  photograph(home / "ann" / "deep" / "1.png")
  (home / "bob").symlink_to(elsewhere / "bob")
  (home / "again").symlink_to(home / "zoe")  # comes first by its name
  (home / "ann" / "circle").symlink_to(home)
  (home / "file.png").symlink_to(elsewhere / "bob" / "1.png")
  (home / "gone").symlink_to(tmp_path / "nothing")
  (home / "self").symlink_to(home / "self")
  found = tree.walk(home)
  assert found.photographs == ["ann/deep/1.png", "bob/1.png", "file.png",
                               "zoe/1.png"]  # fmt: skip
  assert set(found.others) == {"again", "ann/circle", "gone", "self"}
  assert set(found.others.values()) == {tree.AGAIN}


def test_a_pipe_is_not_waited_for(tmp_path):
  photograph(tmp_path / "1.png")
  os.mkfifo(tmp_path / "pipe.png")
  assert tree.walk(tmp_path).others == {"pipe.png": tree.SPECIAL}


def test_a_folder_that_cannot_be_entered_is_named(tmp_path, monkeypatch):
  photograph(tmp_path / "1.png")
  (tmp_path / "locked").mkdir()
  scan = os.scandir

  def refuse(place):  # permissions do not stop whoever is root
    if str(place).endswith("locked"):
      raise PermissionError(13, "Permission denied")
    return scan(place)

  monkeypatch.setattr(os, "scandir", refuse)
  assert tree.walk(tmp_path).others == {"locked": tree.CLOSED}
  monkeypatch.setattr(os, "scandir", lambda place: refuse("locked"))
  with pytest.raises(DataError, match="cannot be read: Permission denied"):
    tree.walk(tmp_path)


def test_releases_are_no_photographs(tmp_path):
  photograph(tmp_path / "1.png")
  for name in ("out", "begun.partial"):
    photograph(tmp_path / name / "images" / "0.png")
  (tmp_path / "out" / "card.json").write_text('{"parameters_sha256": ""}')
  (tmp_path / "begun.partial.json").write_text("{}")
  photograph(tmp_path / "cards" / "2.png")
  (tmp_path / "cards" / "card.json").write_text('{"colour": "red"}')
  found = tree.walk(tmp_path)
  assert found.photographs == ["1.png", "cards/2.png"]
  assert found.others["out"] == found.others["begun.partial"] == tree.RELEASED
  with pytest.raises(DataError, match="of a release: its images are protected"):
    tree.walk(tmp_path / "out")


@given(st.text(min_size=1, max_size=8).filter(lambda name: "/" not in name))
@settings(max_examples=200)
def test_names_are_found_in_any_form(name):
  try:
    unicodedata.normalize("NFC", name).encode()
  except UnicodeEncodeError:
    return  # half a character
  stored = unicodedata.normalize("NFD", name)
  names = tree.Names(tree.Tree([f"p/{stored}"], {}))
  for form in ("NFC", "NFD"):
    spelled = unicodedata.normalize(form, name)
    assert names.find(f"p/{spelled}") == f"p/{stored}"


def test_paths_of_other_systems_are_found():
  names = tree.Names(tree.Tree(["p/1.png", "a\\b.png"], {"q/x.dat": "kind"}))
  assert names.find("p\\1.png") == "p/1.png"
  assert names.find("./p/1.png") == "p/1.png"
  assert names.find("a\\b.png") == "a\\b.png"  # a name of its own
  assert names.find("q/x.dat") == "q/x.dat"
  assert names.find("p/2.png") == "p/2.png"


def test_two_tables_are_refused(tmp_path):
  below = tree.Tree([], {"labels.csv": "", "Labels.CSV": ""})
  with pytest.raises(DataError, match="keep one of them"):
    tree.find_table(below, pathlib.Path("faces"))
  assert tree.find_table(tree.Tree([], {"LABELS.csv": ""}), tmp_path)
