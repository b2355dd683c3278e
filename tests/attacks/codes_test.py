"""The bound of codes against the best attacker, played out."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxpriv.attacks import codes


def test_a_hand_case():
  # Two of three people share a code; one has two.
  told = np.array([[0, 1], [0, 1], [0, 1], [2, 0]])
  best, occurring = codes.bound(told, np.array([4, 7, 9, 9]))
  # max of [0, 1]: 1 (4 or 7); max of [2, 0]: one half (9).
  assert best == pytest.approx(1.5 / 3) and occurring == 2


def test_own_codes_name_everybody_and_one_code_nobody():
  people = np.arange(5)
  assert codes.bound(people[:, None], people) == (1.0, 5)
  assert codes.bound(np.zeros((5, 2), int), people) == (1 / 5, 1)
  with pytest.raises(ValueError, match="no photographs"):
    codes.bound(np.zeros((0, 1), int), people[:0])


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(deadline=None, max_examples=50)
def test_no_guess_by_a_code_is_right_more_often(seed):
  rng = np.random.default_rng(seed)
  number = rng.integers(2, 6)
  identities = np.concatenate([np.arange(number), rng.integers(0, number, 12)])
  told = rng.integers(0, 3, (len(identities), 1))
  best, occurring = codes.bound(told, identities)
  assert 1 / number <= best + 1e-9 and best <= occurring / number + 1e-9
  guess = rng.integers(0, number, 3)  # any attacker: code -> person
  right = [(guess[told[identities == i, 0]] == i).mean() for i in range(number)]
  assert np.mean(right) <= best + 1e-9
  # And one reaches it.
  share = np.array([
    [(told[identities == i, 0] == c).mean() for i in range(number)]
    for c in range(3)
  ])  # fmt: skip
  wisest = share.argmax(1)
  right = [
    (wisest[told[identities == i, 0]] == i).mean() for i in range(number)
  ]
  assert np.mean(right) == pytest.approx(best)
