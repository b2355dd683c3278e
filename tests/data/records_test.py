"""The defaults of the members of a source."""

import numpy as np
import pytest

from jaxpriv.data import memory, pipeline
from jaxpriv.data.records import DataError, Source, UnreadableImageError


class Grey(Source):
  """Grey images, all but the first two readable."""

  def __init__(self, count, bad=(0, 1)):
    self.attribute_names = ()
    self.identities = np.arange(count, dtype=np.int32) % 3
    self._bad = bad

  def __len__(self):
    return len(self.identities)

  def __getitem__(self, index):
    if index in self._bad:
      raise UnreadableImageError(f"grey {index}: torn")
    image = np.full((4, 4, 3), index, np.uint8)
    return {"image": image, "identity": self.identities[index]}

  def describe(self, index):
    return f"grey {index}"


def test_what_is_not_said_has_natural_values():
  source = Grey(5, bad=())
  assert source.identity_names == () and source.default_attributes == ()
  assert source.attribute_values is None and source.photograph(0) is None
  assert source.person(2) == "2"
  source.identity_names = ("ann", "bob", "eve")
  assert source.person(2) == "eve"
  assert source.image_size == 4 and not source.batched
  batch = source.batch(np.array([3, 1]))
  assert batch["image"].shape == (2, 4, 4, 3)
  np.testing.assert_array_equal(batch["identity"], [0, 1])


def test_every_source_counts_its_own_unreadable_images():
  first, second = Grey(50), Grey(50)
  (batch,) = pipeline.epoch(
    first, np.arange(50), batch_size=50, process_index=0, process_count=1
  )
  assert batch["padding"].sum() == 2
  assert first.unreadable == ["grey 0", "grey 1"] and second.unreadable == []


def test_a_source_says_how_many_may_be_unreadable():
  with pytest.raises(DataError, match="2 of 10 images"):
    memory.in_memory(Grey(10))
  source = Grey(10)
  source.max_bad_share = 0.2
  held = memory.in_memory(source)
  assert len(held) == 8 and held.batched
  assert held.unreadable == ["grey 0: torn", "grey 1: torn"]
