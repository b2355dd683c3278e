"""Steps communicate gradients and statistics of batches, and nothing else.

Each step is compiled once, on eight devices, with a state that is replicated.
What is reduced is derived from the parameters, to the byte: whatever is added,
were it one number, is more. A phase that is added to `sharded_test.METHODS` is
in all of it.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxpriv.methods import face_source
from jaxpriv.training import ahead, topologies
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.ahead import Program
from jaxpriv.training.collectives import Collective
from jaxpriv.training.method import State
from tests import sharded_test, tiny
from tests.training import star, toys

ROWS = 16
# Groups of four images then lie on one device.
ROWS_OF_SOURCE, SIDE_OF_SOURCE = 32, 8
# Attributes, landmarks and other labels are read by methods of these names.
FACES = ("task", "people", "heads", "same_m", "replacement", "source")
# Tens of seconds of compilation each; others of their kind are quick.
SLOW = sharded_test.SLOW | {
  "private_people", "private_views_of_people", "private_eeae", "stargan",
  "retinaface",
}  # fmt: skip

# All-reduces of a step, at most, and the numbers that it sums beside gradients
# and statistics: of rows, and metrics. Phases that are not here learn nothing.
REDUCED = {
  "eeae": {
    "fsn": (9, 4), "pen": (19, 4), "external": (19, 2), "internal": (23, 10),
  },
  "sprn": {"sprn": (19, 10)},
  "poisoned": {
    "classifier": (21, 4), "reconstructor": (1, 2), "poisoning": (1, 8),
  },
  "poisoned_shredder": {"poisoning": (1, 6)},
  "poisoned_obfuscator": {"reconstructor": (1, 2)},
  "multi_task": {"multi_task": (1, 17)},
  "private_multi_task": {"multi_task": (1, 8)},
  "private_people": {"multi_task": (1, 8)},
  "private_views_of_people": {"multi_task": (1, 9)},
  "private_eeae": {"fsn": (1, 5), "pen": (1, 5)},
  "private_internal": {
    "fsn": (9, 4), "pen": (19, 4), "external": (19, 2), "internal": (1, 8),
  },
  "k_same_net": {"generator": (1, 2)},
  "lowkey": {"iresnet": (19, 4), "vgg": (5, 4)},
  "masks": {"recogniser": (11, 4), "aware": (11, 4), "masknet": (16, 4)},
  "own_masks": {"recogniser": (11, 4), "masknet": (16, 4)},
  "repair": {"recogniser": (3, 4)},
  "retinaface": {"retinaface": (82, 10)},
}  # fmt: skip

# Kinds of a step, how many of each and their bytes, where it does more or less.
OTHERS = {
  # Distances of all pairs of images, and of what is released of them.
  "poisoned_nopeek/classifier": {
    "all-gather": (7, 721_216), "all-reduce": (26, 692_128),
  },
  # Gradients of what follows features, and of heads, alone.
  "poisoned_pools/classifier": {"all-reduce": (14, 160_160)},
  "private_heads/multi_task": {"all-reduce": (1, 2_184)},
  # What each client keeps is reduced with the sum of moves: it is of few slots.
  "federated/toy": {"all-reduce": (2, 204_128)},
  "federated_private/toy": {"all-reduce": (3, 203_756)},
  # Games of two moves.
  "poisoned_keyed/poisoning": {"all-reduce": (2, 37_936)},
  "poisoned_obfuscator/classifier": {"all-reduce": (2, 493_568)},
  # On CPUs gradients are reduced at each use of a parameter. The compiler for
  # GPUs adds them before.
  "game/game": {"all-reduce": (2, 148_108)},
  "star/star": {"all-reduce": (4, 55_024)},
  "repair/repair": {"all-reduce": (1, 67_712)},
  "source/source": {"all-reduce": (3, 55_840)},
  # References are other rows of the batch, chosen by scores of all pairs.
  "stargan/stargan": {
    "all-gather": (4, 197_712), "all-reduce": (4, 273_008),
  },
  # A mean image; photographs for one fit; candidates of a search, with three
  # numbers of each.
  "masks/template": {"all-reduce": (2, 4_100)},
  "masks/eigenfaces": {"all-gather": (3, 196_688)},
  "masks/search": {"all-gather": (4, 8_288)},
}  # fmt: skip


def source():
  """Photographs of 8 pixels: half of the time to compile."""
  config = tiny.face_source()
  config.data.image_size = SIDE_OF_SOURCE
  return face_source.phases(config)


METHODS = {**sharded_test.METHODS, "source": source}


class Step(NamedTuple):
  """A compiled step, and the shapes of the state that it is given."""

  program: Program
  state: State
  private: bool


def size(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def record(name):
  """One row of what a method of `sharded_test` is trained on."""
  small = name == "game" or name.startswith("federated")
  if name == "star":
    batch = star.batch(1)
  elif name == "retinaface":
    batch = tiny.scenes(1)
  elif name.startswith("poisoned"):
    batch = tiny.feature_batch((16, 16, 32), 1)
  elif name == "stargan" or name.endswith(FACES):
    batch = tiny.faces(1)
  else:
    batch = tiny.batch(1, side=toys.SIDE if small else tiny.SIDE)
  if name == "source":
    batch["image"] = batch["image"][:, :SIDE_OF_SOURCE, :SIDE_OF_SOURCE]
  if name == "repair":
    batch["keep"] = np.ones((1, tiny.SIDE, tiny.SIDE), bool)
    batch["released"] = batch["image"]
  return {key: np.asarray(x)[0] for key, x in batch.items()}


@functools.cache
def compiler(name):
  phases = METHODS[name]()
  topology = topologies.parse("cpu:8")
  mesh = mesh_lib.make_mesh(8)
  return phases, ahead.Compiler(phases, record(name), mesh, topology)


@functools.cache
def steps(name):
  """Phase -> its step; of what two methods train alike, the other's is read."""
  phases, compiled = compiler(name)
  rows = ROWS_OF_SOURCE if name == "source" else ROWS
  mine = phases[-1:] if name in sharded_test.SHARED else phases
  return {
    phase.name: Step(
      compiled.step(phase.name, rows),
      compiled.state(phase.name, rows),
      bool(phase.plan),
    )
    for phase in mine
  }


def derived(step):
  """Bytes of gradients and statistics that a step reduces.

  A layer of BatchNorm reduces a mean and a mean of squares forwards, and three
  sums backwards, the gradients of its scale and its shift among them. On CPUs
  a kernel that reads three channels reads a fourth, empty one, and one of 4x4
  that doubles the side is of 3x3 and of four times the features; a private
  step multiplies patches by the kernels as they are.
  """
  layer = lambda name: name.rpartition("/")[0]
  statistics = step.state.get("batch_stats", {})
  normed = set(map(layer, flatten_dict(statistics, sep="/")))
  total = 5 * size(statistics) // 2
  for name, x in flatten_dict(step.state.get("params", {}), sep="/").items():
    if layer(name) in normed:
      continue
    kernel = x.ndim == 4 and not step.private
    if kernel and x.shape[:2] == (4, 4):
      total += size(x) // 16 * 9 * 4
    elif kernel and x.shape[2] == 3:
      total += size(x) // 3 * 4
    else:
      total += size(x)
  return total


every_method = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in METHODS
  ],
)


@every_method
def test_gradients_are_reduced_once_and_statistics_once_a_way(name):
  for phase, step in steps(name).items():
    found = step.program.collectives
    if f"{name}/{phase}" in OTHERS:
      assert found == OTHERS[f"{name}/{phase}"], phase
      continue
    if not step.program.parameters:
      assert not found, phase
      continue
    assert list(found) == ["all-reduce"], phase
    # Mean and variance of a layer go together, forwards and backwards, of some
    # layers with those of others; and gradients and metrics once.
    most, numbers = REDUCED[name][phase]
    layers = len(jax.tree.leaves(step.state.get("batch_stats", {}))) // 2
    assert most <= 2 * layers + 1
    assert found["all-reduce"].number <= most, phase
    assert found["all-reduce"].bytes == derived(step) + 4 * numbers, phase


@every_method
def test_the_whole_state_is_given_back_in_place(name):
  for phase, step in steps(name).items():
    assert step.program.aliased == size(step.state), phase


def test_nothing_grows_with_the_batch():
  """Twice the rows, and as many bytes."""
  _, compiled = compiler("poisoned")
  few = steps("poisoned")["poisoning"].program
  many = compiled.step("poisoning", 2 * ROWS)
  assert few.collectives == many.collectives
  assert few.temporaries < many.temporaries


@pytest.mark.slow
def test_groups_of_images_cross_devices_that_have_fewer_than_four_rows():
  """The deviation of a group, forwards and backwards, in each use of it."""
  _, compiled = compiler("source")
  few = compiled.step("source", ROWS).collectives
  many = steps("source")["source"].program.collectives
  more = {"all-reduce": Collective(21, 63_552)}
  assert few == more and many.keys() == more.keys()


def test_clients_of_all_devices_send_their_moves_alone():
  """What each keeps stays on its device; their metrics are three numbers."""
  parts = tuple(np.arange(2 * i, 2 * i + 2) for i in range(8))
  phases = sharded_test.federated("batch", parts, local_statistics=True)
  topology, mesh = topologies.parse("cpu:8"), mesh_lib.make_mesh(8)
  compiled = ahead.Compiler(phases, record("federated"), mesh, topology)
  state = compiled.state("toy", ROWS)
  moves = size(state["params"]) + size(state["batch_stats"])
  found = compiled.step("toy", ROWS).collectives
  assert found == {"all-reduce": (1, moves + 3 * 4)}
