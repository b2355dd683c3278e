"""The bound against its integral, and against attackers who know everything."""

import numpy as np
import pytest
from scipy import stats

from jaxpriv.privacy import leakage


@pytest.mark.parametrize("noise", [0.05, 0.4, 1.0, 3.0])
def test_the_gain_is_the_integral_of_the_largest_density(noise):
  y = np.linspace(-1 - 10 * noise, 1 + 10 * noise, 400_001)
  best = stats.norm.pdf(y - np.clip(y, -1, 1), scale=noise)
  expected = best.sum() * (y[1] - y[0])
  assert leakage.gain(noise, 1) == pytest.approx(expected, rel=1e-4)
  assert leakage.gain(noise, 3) == pytest.approx(expected**3, rel=1e-3)


@pytest.mark.parametrize("numbers", [1, 2])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_nobody_beats_the_bound_and_the_best_attacker_comes_near(
  noise, numbers
):
  """Maximum likelihood among codes that fill the range."""
  rng = np.random.default_rng(0)
  codes = rng.uniform(-1, 1, (400, numbers))
  codes[rng.random(codes.shape) < 0.3] = 1  # many at the ends, as tanh has them
  person = rng.integers(0, 400, 40_000)
  released = codes[person] + noise * rng.normal(size=(len(person), numbers))
  gallery = (codes**2).sum(1)
  hits = 0
  for rows in np.array_split(np.arange(len(person)), 20):
    guess = (2 * released[rows] @ codes.T - gallery).argmax(1)
    hits += (guess == person[rows]).sum()
  gain = hits / len(person) * 400
  assert 0.5 * leakage.gain(noise, numbers) < gain
  assert gain < 1.1 * leakage.gain(noise, numbers)  # counted, so not exact


def test_without_noise_there_is_no_bound():
  with pytest.raises(ValueError, match="no bound"):
    leakage.gain(0, 4)
