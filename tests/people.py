"""Numbered and named people as a source, for tests of who is in a split."""

import dataclasses

import numpy as np

from jaxpriv.data import dataset
from jaxpriv.data.records import Source


@dataclasses.dataclass
class Faces(Source):
  """Photographs of numbered people, in any order, as a source."""

  identities: np.ndarray
  attribute_names: tuple[str, ...] = ()
  identity_names: tuple[str, ...] = ()

  def __len__(self):
    return len(self.identities)

  def __getitem__(self, index):
    image = np.full((8, 8, 3), index, np.uint8)
    return {"image": image, "identity": self.identities[index]}

  def describe(self, index):
    return f"face {index}"


SHARES = {"train": 0.5, "attack": 0.25, "test": 0.25}


def named(people, seed=0):
  """Four photographs of each, numbered by the order of their names."""
  people = tuple(sorted(people))
  identities = np.repeat(np.arange(len(people), dtype=np.int32), 4)
  source = Faces(identities, identity_names=people)
  return dataset.split_data(source, SHARES, seed)


def names(data, split):
  rows = data.source.identities[data.splits[split]]
  return {data.source.identity_names[i] for i in rows}


PEOPLE = tuple(f"person {i}" for i in range(16))
