"""Safetensors: bytes by hand, round trips, damage, and trees of parameters."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxpriv.data import safetensors
from jaxpriv.data.records import DataError
from jaxpriv.data.safetensors import Named


def packed(header, body):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
  return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def read(tmp_path, whole):
  path = tmp_path / "a.safetensors"
  path.write_bytes(whole)
  return safetensors.read(path)


def test_bytes_written_by_hand_are_read(tmp_path):
  header = {
    "__metadata__": {"format": "pt"},
    "b": entry("I16", (2, 2), (8, 16)),
    "a": entry("F32", (2,), (0, 8)),
    "c": entry("BF16", (2,), (16, 20)),
    "e": entry("F64", (0, 3), (20, 20)),
    "s": entry("BOOL", (), (20, 21)),
  }
  body = struct.pack("<ff", 1.5, -2.0) + struct.pack("<4h", 1, -2, 3, 400)
  # 1 and -3 without the lower half of their float32.
  body += b"\x80\x3f" + b"\x40\xc0" + b"\x01"
  got = read(tmp_path, packed(header, body))
  assert set(got) == set("abces")
  np.testing.assert_array_equal(got["a"], np.float32([1.5, -2]))
  np.testing.assert_array_equal(got["b"], np.int16([[1, -2], [3, 400]]))
  np.testing.assert_array_equal(got["c"], np.float32([1, -3]))
  assert got["e"].shape == (0, 3) and got["e"].dtype == np.float64
  assert got["s"].shape == () and got["s"].dtype == bool and got["s"]
  assert got["a"].dtype == np.float32 and got["c"].dtype == np.float32


KINDS = ("bool", "u1", "<i2", ">i4", "<i8", "<u4", "<f2", ">f4", "<f8")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
  arrays = data.draw(
    st.dictionaries(
      st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(
        lambda name: name != "__metadata__"
      ),
      st.sampled_from(KINDS).flatmap(
        lambda kind: arrays_of.arrays(
          kind, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=3)
        )
      ),
      max_size=4,
    )
  )
  path = tmp_path_factory.mktemp("files") / "x.safetensors"
  safetensors.write(path, arrays)
  length = struct.unpack("<Q", path.read_bytes()[:8])[0]
  assert length % 8 == 0
  got = safetensors.read(path)
  assert list(got) == list(arrays)
  for name, array in arrays.items():
    assert got[name].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got[name], array)


PAIR = {"a": entry(), "b": entry(offsets=(8, 16))}
DAMAGED = {
  "header would have": b"\x08\0\0",
  "header would have 9": struct.pack("<Q", 9) + b"{}",
  "header would have 18446744073709551615": b"\xff" * 8 + b"{}",
  "Expecting": packed(b"{nonsense", b""),
  "no JSON": packed(b'{"\xff": 1}', b""),
  "no table": packed([1], b""),
  "'a' twice": packed(b'{"a": 1, "a": 2}', b""),
  "not described": packed({"a": {"dtype": "F32"}}, b""),
  "is not described by": packed({"a": 3}, b""),
  "no numbers": packed({"a": entry(shape=("2",))}, b"\0" * 8),
  "or offsets of no numbers": packed({"a": entry(offsets=(-8, 0))}, b"\0" * 8),
  "of no numbers": packed({"a": entry(shape=(True, 2))}, b"\0" * 8),
  "type 'F8_E4M3'": packed({"a": entry("F8_E4M3")}, b"\0" * 8),
  "type \\['F32'\\]": packed({"a": entry(["F32"])}, b"\0" * 8),
  "bytes 0 to 8 of 4": packed({"a": entry()}, b"\0" * 4),
  "bytes 8 to 0 of 8": packed({"a": entry(offsets=(8, 0))}, b"\0" * 8),
  "takes 12": packed({"a": entry(shape=(3,))}, b"\0" * 8),
  "overlap": packed({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12),
  "leave gaps": packed({"a": entry(offsets=(4, 12))}, b"\0" * 12),
  "8 bytes, and there are 9": packed({"a": entry()}, b"\0" * 9),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_files_are_refused_with_what_is_wrong(tmp_path, message):
  with pytest.raises(DataError, match=f"no sound safetensors.*{message}"):
    read(tmp_path, DAMAGED[message])


def test_each_file_cut_short_is_refused(tmp_path):
  whole = packed(PAIR, b"\1" * 16)
  assert set(read(tmp_path, whole)) == {"a", "b"}
  for length in range(len(whole)):
    with pytest.raises(DataError):
      read(tmp_path, whole[:length])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_no_other_error(tmp_path_factory, place, by):
  whole = bytearray(packed(PAIR, b"\1" * 16))
  whole[place % len(whole)] ^= by
  path = tmp_path_factory.mktemp("files") / "x.safetensors"
  path.write_bytes(bytes(whole))
  try:
    got = safetensors.read(path)
  except DataError:
    return
  assert sum(array.nbytes for array in got.values()) <= 32


def test_files_that_are_not_there_and_types_that_cannot_be_are_named(tmp_path):
  with pytest.raises(
    DataError, match="none.safetensors cannot be read: No such"
  ):
    safetensors.read(tmp_path / "none.safetensors")
  for arrays in ({"z": np.zeros(2, complex)}, {"__metadata__": np.zeros(2)}):
    with pytest.raises(DataError, match="cannot be written"):
      safetensors.write(tmp_path / "x", arrays)


PARAMS = {
  "fc": {"kernel": np.zeros((2, 3), np.float32), "bias": np.zeros(3)},
  "scale": np.zeros((), np.float32),
}
TABLE = {
  "fc/kernel": Named("w", np.transpose),
  "fc/bias": Named("b"),
  "scale": Named("s"),
}


def test_arrays_are_arranged_by_a_table():
  arrays = {
    "w": np.arange(6.0).reshape(3, 2), "b": np.ones(3, np.float16),
    "s": np.array(2.0), "other": np.zeros(9),
  }  # fmt: skip
  got = safetensors.arranged(arrays, TABLE, PARAMS)
  np.testing.assert_array_equal(got["fc"]["kernel"], [[0, 2, 4], [1, 3, 5]])
  assert got["fc"]["kernel"].dtype == np.float32
  assert got["fc"]["bias"].dtype == np.float64
  assert got["scale"] == 2 and got["scale"].shape == ()
  assert got.keys() == PARAMS.keys() and got["fc"].keys() == PARAMS["fc"].keys()


def test_all_that_does_not_fit_is_named():
  arrays = {"w": np.zeros((2, 3)), "s": np.zeros(())}
  with pytest.raises(DataError) as caught:
    table = {k: v for k, v in TABLE.items() if k != "scale"}
    safetensors.arranged(arrays, table, PARAMS)
  for said in (
    "3 parameters",
    "fc/kernel (w gives (3, 2), not (2, 3))",
    "fc/bias (b is missing)",
    "scale (of which the table says nothing)",
  ):
    assert said in str(caught.value)
  turned = TABLE | {"fc/kernel": Named("s", lambda a: a.transpose(1, 0))}
  with pytest.raises(DataError, match=r"fc/kernel \(s of \(\): "):
    safetensors.arranged(arrays, turned, PARAMS)
