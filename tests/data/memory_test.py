"""Records held together, in memory or in mapped files."""

import numpy as np
import pytest

from jaxpriv.data import memory
from jaxpriv.data.memory import InMemory
from jaxpriv.data.procedural import ProceduralFaces


@pytest.mark.parametrize("most_bytes", [None, 0, 10**6])
def test_parts_are_put_one_behind_the_other(most_bytes):
  rng = np.random.default_rng(0)
  parts = [rng.integers(0, 256, (n, 4, 3), np.uint8) for n in (5, 0, 7)]
  whole = memory.gather(iter(parts), 20, most_bytes)
  np.testing.assert_array_equal(whole, np.concatenate(parts))
  assert isinstance(whole, np.memmap) == (most_bytes == 0)


def test_there_must_be_room_and_something():
  with pytest.raises(ValueError, match="6 rows, and there was room for 5"):
    memory.gather([np.zeros((3, 2)), np.zeros((3, 2))], 5)
  with pytest.raises(ValueError, match="there is no record"):
    memory.gather([], 5)


def test_a_mapped_array_outlives_the_name_of_its_file():
  whole = memory.gather([np.full((1000, 8), 7.0)], 1000, 0)
  rows = whole[np.array([3, 999])]
  del whole
  np.testing.assert_array_equal(rows, 7.0)


def photographs():
  arrays = {
    "image": np.arange(24, dtype=np.uint8).reshape(4, 2, 1, 3),
    "identity": np.array([0, 0, 1, 2], np.int32),
    "attributes": np.array([[0], [1], [1], [-1]], np.int8),
  }
  return InMemory(arrays, ("Male",))


def test_records_with_other_fields_or_fewer_rows_are_others():
  whole = photographs()
  dark = whole.replace(image=np.zeros_like(whole.arrays["image"]))
  assert not dark.arrays["image"].any() and whole.arrays["image"].any()
  assert "image" not in whole.without("image", "nothing").arrays
  some = whole.take(np.array([3, 1]))
  assert some.identities.tolist() == [2, 0]
  assert some.attribute_names == ("Male",)
  assert some[0]["attributes"] == [-1]
  assert len(whole) == 4 and len(whole.take(slice(1, None))) == 3


def test_records_read_from_a_source_keep_their_names():
  faces = ProceduralFaces(3, 2, 32)
  whole = memory.in_memory(faces)
  some = whole.take(np.array([5, 0]))
  assert some.describe(0) == faces.describe(5)
  assert some.person(int(some.identities[0])) == faces.person(2)
  changed = some.replace(identity=np.array([9, 9], np.int32))
  assert changed.describe(1) == faces.describe(0)
