"""Linear probes fail on the faces. Networks are judged elsewhere."""

import numpy as np
import pytest

from jaxpriv.data.procedural import calibration


def test_ridge_scores_are_those_of_the_normal_equations():
  rng = np.random.default_rng(0)
  train, test = rng.normal(size=(40, 7)), rng.normal(size=(5, 7))
  targets = rng.normal(size=(40, 3))
  scores = calibration.ridge_scores(train, targets, test)
  centred = train - train.mean(0)
  gram = centred.T @ centred
  largest = np.linalg.eigvalsh(gram)[-1]
  for score, share in zip(scores, calibration.PENALTIES, strict=True):
    weights = np.linalg.solve(
      gram + share * largest * np.eye(7),
      centred.T @ (targets - targets.mean(0)),
    )
    expected = (test - train.mean(0)) @ weights + targets.mean(0)
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-6)


def test_the_probe_reads_what_is_linear():
  """Blond hair is linear in the pixels: the probe itself works."""
  blond = calibration.attribute_probes(people=240, shots=2)["Blond_Hair"]
  assert blond.accuracy > blond.baseline
  assert 0.5 <= blond.baseline < 0.9


def test_few_people_are_hard_already():
  probe = calibration.identity_probe(people=50)
  assert probe.baseline == 1 / 50
  assert 3 * probe.baseline < probe.accuracy < 0.5


@pytest.mark.slow
def test_a_linear_probe_identifies_at_most_three_in_ten():
  probe = calibration.identity_probe(people=200, train=8, test=2)
  assert 0.02 < probe.accuracy <= 0.30


@pytest.mark.slow
def test_a_linear_probe_reads_no_attribute_but_male():
  for name, probe in calibration.attribute_probes().items():
    if name != "Male":
      assert probe.accuracy <= 0.90, name
