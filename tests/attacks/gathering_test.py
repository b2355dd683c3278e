"""Which photographs an evaluation takes."""

import pytest

from jaxpriv.attacks import gathering


@pytest.mark.parametrize(
  "sizes, limit, taken",
  [
    ({"train": 100, "attack": 20}, 60, {"train": 40, "attack": 20}),
    ({"train": 100, "attack": 20}, 20, {"train": 10, "attack": 10}),
    ({"attack": 5, "train": 7}, 100, {"attack": 5, "train": 7}),
    ({"test": 9}, 4, {"test": 4}),
  ],
)
def test_what_one_split_lacks_another_gives(sizes, limit, taken):
  assert gathering.dealt(sizes, limit) == taken
