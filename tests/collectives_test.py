"""Steps communicate gradients and statistics of batches, and nothing else.

Compiled on eight devices, with states that are replicated: what is reduced is
derived from the parameters. Whatever grows with a batch would be activations
that go from device to device.
"""

import jax
import numpy as np
import pytest

from jaxpriv.training import ahead, topologies
from tests import sharded_test, tiny

ROWS = 16
BATCHES = {
  "eeae": tiny.batch,
  "poisoned": tiny.batch,
  "multi_task": tiny.faces,
  "private_multi_task": tiny.faces,
}


def compiler(name, mesh):
  phases = sharded_test.METHODS[name]()
  record = {key: np.asarray(x)[0] for key, x in BATCHES[name]().items()}
  return phases, ahead.Compiler(phases, record, mesh, topologies.parse("cpu:8"))


def size(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", ["eeae", "poisoned", "multi_task"])
def test_gradients_are_reduced_once_and_statistics_once_a_way(name, mesh):
  phases, compiled = compiler(name, mesh)
  for phase in phases:
    step = compiled.step(phase.name, ROWS)
    statistics = compiled.state(phase.name, ROWS).get("batch_stats", {})
    assert list(step.collectives) == ["all-reduce"], phase.name
    found = step.collectives["all-reduce"]
    # Mean and variance of a layer go together, forwards and backwards;
    # gradients are two lots at most, and metrics one.
    layers = len(jax.tree.leaves(statistics)) // 2
    assert found.number <= 2 * layers + 3, phase.name
    # Kernels of upsampling layers have a few taps more than parameters.
    most = 1.4 * step.parameters + 4 * size(statistics) + 256
    assert step.parameters <= found.bytes <= most, phase.name


def test_a_private_step_reduces_its_sum_once(mesh):
  (phase,), compiled = compiler("private_multi_task", mesh)
  step = compiled.step(phase.name, ROWS)
  assert list(step.collectives) == ["all-reduce"]
  found = step.collectives["all-reduce"]
  assert found.number <= 3
  assert step.parameters <= found.bytes <= step.parameters + 256


def test_nothing_grows_with_the_batch(mesh):
  """Half of the rows, and as many bytes."""
  _, compiled = compiler("poisoned", mesh)
  few, many = (compiled.step("poisoning", rows) for rows in (ROWS, 2 * ROWS))
  assert few.collectives == many.collectives
  assert few.temporaries < many.temporaries
