"""Files that are written whole or not at all."""

import numpy as np
import pytest
from etils import epath

from jaxpriv import files


@pytest.mark.parametrize("data", ["naïve, ε = 3\n", b"\x00\xff"])
def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path, data):
  target = tmp_path / "new" / "folder" / "card.json"
  for _ in range(2):  # the second writes over the first
    assert files.atomic_write(target, data) == epath.Path(target)
  expected = data.encode() if isinstance(data, str) else data
  assert target.read_bytes() == expected
  assert [p.name for p in target.parent.iterdir()] == ["card.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
  target = tmp_path / "card.json"
  files.atomic_write(target, "old")

  def killed(self, data):
    raise KeyboardInterrupt

  monkeypatch.setattr(type(epath.Path(target)), "write_bytes", killed)
  with pytest.raises(KeyboardInterrupt):
    files.atomic_write(target, "new")
  assert target.read_text() == "old"


def test_permissions_are_set_before_there_is_anything_to_read(
  tmp_path, monkeypatch
):
  modes = []
  path = type(epath.Path(tmp_path))
  write = path.write_bytes

  def note(self, data):
    modes.append(self.stat().mode & 0o777)
    write(self, data)

  monkeypatch.setattr(path, "write_bytes", note)
  target = files.atomic_write(tmp_path / "secret", "1234", mode=0o600)
  assert modes == [0o600]
  assert target.stat().mode & 0o777 == 0o600


def test_home_is_written_out_and_nothing_else(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  assert files.expanded("~/faces") == "/home/me/faces"
  for path in ("", "faces/~", "gs://bucket/~", "/a/b"):
    assert files.expanded(path) == path


def test_arrays_are_read_as_they_were_written(tmp_path):
  arrays = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "none": np.zeros((0, 4), np.int8),
    "number": np.float64(1.5),
  }
  np.savez(tmp_path / "x.npz", **arrays)
  read = files.read_npz(tmp_path / "x.npz")
  assert read.keys() == arrays.keys()
  for name, value in arrays.items():
    np.testing.assert_array_equal(read[name], value)
    assert read[name].dtype == value.dtype


def test_no_array_is_larger_than_its_file_and_none_is_a_program(tmp_path):
  path = tmp_path / "x.npz"
  np.savez_compressed(path, zeros=np.zeros(10**7, np.uint8))
  with pytest.raises(files.DamagedError, match="longer than the whole"):
    files.read_npz(path)
  np.savez(path, objects=np.array([{"a": 1}], object))
  with pytest.raises(files.DamagedError, match="holds objects"):
    files.read_npz(path)
  with pytest.raises(FileNotFoundError):
    files.read_npz(tmp_path / "y.npz")


def test_json_of_another_kind_is_damaged(tmp_path):
  path = tmp_path / "x.json"
  for text, reason in (
    ("[1]", "something else"),
    ('{"a": 1}', "without b"),
    ("[" * 10**5, "recursion"),
    ("{", "x.json is damaged"),
  ):
    path.write_text(text)
    with pytest.raises(files.DamagedError, match=reason):
      files.read_json(path, dict, ("b",))
  path.write_text('{"b": NaN}')
  assert files.read_json(path, dict, ("b",)) == {"b": "NaN"}
