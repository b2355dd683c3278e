"""People are dealt to splits and numbered."""

import numpy as np
import pytest

from jaxpriv.data import dataset
from jaxpriv.data.records import DataError
from tests.people import SHARES, Faces


def test_people_are_numbered_split_after_split():
  identities = np.repeat(np.array([7, 3, 100, 9, 12, 40, 5, 21], np.int32), 5)
  identities = np.random.default_rng(0).permutation(identities)
  data = dataset.split_data(Faces(identities), SHARES, seed=0)
  assert data.num_people == 4
  seen = {}
  for split in SHARES:
    batches = list(data.epoch(split, batch_size=8))
    ids = np.concatenate([b["identity"][~b["padding"]] for b in batches])
    seen[split] = set(ids.tolist())
    assert len(ids) == 5 * data.people(split)
  assert seen["train"] == {0, 1, 2, 3}
  assert seen["attack"] | seen["test"] == {4, 5, 6, 7}
  assert not seen["attack"] & seen["test"]


def test_unknown_people_train_without_a_class():
  identities = np.repeat(np.arange(-1, 8, dtype=np.int32), 4)
  data = dataset.split_data(Faces(identities), SHARES, seed=0)
  batches = list(data.epoch("train", batch_size=8))
  ids = np.concatenate([b["identity"][~b["padding"]] for b in batches])
  assert (ids == -1).sum() == 4
  assert set(ids.tolist()) == {-1, 0, 1, 2, 3}


def test_too_few_people_is_an_error_that_names_the_split():
  with pytest.raises(DataError, match="'test'.*only 2 people"):
    dataset.split_data(Faces(np.array([0, 1], np.int32)), SHARES, seed=0)


def test_units_are_images_or_people():
  identities = np.array([-1, 4, 4, 2, 2, 2, 9, -1, 4], np.int32)
  data = dataset.Data(
    Faces(identities), {"train": np.array([8, 0, 1, 3, 5, 6])},
    np.zeros(10, np.int32), 3,
  )  # fmt: skip
  images = data.units("train", "image")
  assert [u.tolist() for u in images] == [[8], [0], [1], [3], [5], [6]]
  people = data.units("train", "person")
  assert [u.tolist() for u in people] == [[3, 5], [8, 1], [6]]


def test_by_image_everybody_is_in_all_splits_and_no_image_is_in_two():
  identities = np.repeat(np.array([7, 3, -1, 100], np.int32), 20)
  data = dataset.split_data(Faces(identities), SHARES, seed=0, by="image")
  rows = np.concatenate(list(data.splits.values()))
  assert sorted(rows.tolist()) == list(range(80))
  assert data.num_people == 3
  hashes = [data.hashes(split) for split in SHARES]
  assert sum(map(len, hashes)) == len(set().union(*hashes)) == 80
  for split in SHARES:
    assert data.people(split) == 3
    batches = list(data.epoch(split, batch_size=8))
    ids = np.concatenate([b["identity"][~b["padding"]] for b in batches])
    assert set(ids.tolist()) <= {-1, 0, 1, 2}
  with pytest.raises(DataError, match="data.split_by is 'scene'"):
    dataset.split_data(Faces(identities), SHARES, seed=0, by="scene")
