"""Maximal leakage: how much likelier a release makes any guess right.

Issa, Wagner, Kamath, "An Operational Approach to Information Leakage", IEEE
Transactions on Information Theory 66(3), 2020. Whoever sees y, made of x by a
channel p(y|x), guesses any function of x, such as the person, with a
probability of at most

  max_u P(u) * exp(L),  exp(L) = integral over y of max over x of p(y|x)

whatever they know beside, as long as it was not made of this very draw of y.
That holds for every attacker, and for whatever is computed of y.
"""

import math


def gain(noise: float, numbers: int) -> float:
  """exp(L) of numbers in [-1, 1], each with Gaussian noise added.

  For one number the integral is 1 / (noise sqrt(2 pi)) over [-1, 1], where some
  x equals y, and 1 for both tails together; independent channels multiply.

  Args:
    noise: standard deviation.
    numbers: how many are released together; those of several releases of one
      person add up.

  Raises:
    ValueError: the noise is not positive.
  """
  if noise <= 0:
    raise ValueError(f"without noise there is no bound: {noise}")
  return (1 + 2 / (noise * math.sqrt(2 * math.pi))) ** numbers
