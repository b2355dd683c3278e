"""Steps and outputs are run as they were foretold, and told as JSON."""

import json
import time

import jax
import numpy as np
import pytest

from configs import baseline, common
from jaxpriv.errors import SettingError
from jaxpriv.training import (
  loop,
  measuring,
  mechanism,
  recipes,
  topologies,
)
from jaxpriv.training.ahead import Program
from tests import tiny
from tests.training import toys

H200 = topologies.parse("h200:1")
PROGRAM = Program(
  name="toy", batch=64, examples=48, devices=2, parameters=5, held=100,
  arguments=60, temporaries=40, moved=48 * 10**8, flops=989e9,
  collectives={}, seconds=3.0,
)  # fmt: skip


def toy(monkeypatch, private):
  """Two phases of a small network, of which the second reads the first."""
  config = common.base("toy")
  config.data.update(num_identities=40, images_per_identity=4, image_size=32)
  options = common.phase(10, 16)
  config.phases = dict(first=options, second=options)
  if private:
    config.dp.update(noise_multiplier=1.0)
  first = recipes.supervised_phase(
    "first", toys.Net("group"), toys.regression_loss, options
  )
  second = first._replace(name="second", needs=("first",))
  monkeypatch.setattr(mechanism, "phases", lambda config: [first, second])
  return config


@pytest.mark.parametrize("private", [False, True])
def test_a_step_is_run_alone_and_fed(private, mesh, monkeypatch):
  steps = []
  there = loop.program

  def counted(phase, state, mesh):
    run = there(phase, state, mesh)

    def step(state, frozen, batch, key, number):
      count = int(jax.tree.leaves(state["opt"])[0])
      steps.append((count, np.asarray(batch["index"])))
      assert frozen.keys() == {"first"} and "opt" not in frozen["first"]
      return run(state, frozen, batch, key, number)

    # A step compiled ahead is traced, and one that is measured called.
    step.trace = run.trace
    return step

  monkeypatch.setattr(loop, "program", counted)
  bench = measuring.Bench(toy(monkeypatch, private), mesh)
  assert bench.phases == ("first", "second") and bench.trained("second")
  row = bench.step("second", 0.0)
  assert json.loads(json.dumps(row)) == row
  assert row["program"] == "second" and row["examples"] == 16
  assert row["batch"] > 16 if private else row["batch"] == 16
  # Each step is from the state of the one before.
  assert [number for number, _ in steps] == list(range(len(steps)))
  rows = [set(index[index >= 0].tolist()) for _, index in steps]
  half = len(rows) // 2
  assert all(r == rows[0] for r in rows[:half]), "one batch, again and again"
  assert len({frozenset(r) for r in rows[half:]}) == half, "others, when fed"
  assert row["ms"] > 0 and row["finite"]
  assert row["low_ms"] <= row["ms"] <= row["high_ms"]
  wait = 1 - row["ms"] / row["fed_ms"]
  assert row["input_wait"] == pytest.approx(max(wait, 0))
  assert row["limit"] is row["share_of_best"] is row["peak"] is None


def test_what_is_released_is_run(mesh):
  blur = baseline.get_config("demo,gaussian_blur")
  blur.data.update(image_size=32, num_identities=20, images_per_identity=2)
  blur.release.batch_size = 5
  bench = measuring.Bench(blur, mesh)
  assert not bench.trained("baseline")
  assert bench.outputs("baseline") == ["image"]
  row = bench.output("baseline", "image", 0.0)
  assert (row["program"], row["batch"]) == ("baseline: image", 8)
  assert row["ms"] > 0 and row["held"] > 8 * 32 * 32 * 3


def test_figures_are_those_of_the_program():
  row = measuring.described(
    PROGRAM, [0.004, 0.002, 0.02], H200, "bfloat16", (7, 9)
  )
  assert row["ms"] == pytest.approx(4)
  assert (row["low_ms"], row["high_ms"]) == pytest.approx((2, 20))
  assert row["images_per_second"] == pytest.approx(48 / 0.004)
  assert row["teraflops"] == pytest.approx(989e9 / 0.004 / 1e12)
  # 4.8 GB at 4.8 TB/s; products of each of two devices take half of that.
  assert row["limit"] == "memory"
  assert row["share_of_best"] == pytest.approx(0.001 / 0.004)
  assert (row["peak_before"], row["peak"]) == (7, 9)
  assert row["held"] == 100 and row["compile_seconds"] == 3.0
  slow = measuring.described(PROGRAM, [0.004], H200, "float32")
  assert slow["limit"] == "compute"
  assert slow["share_of_best"] == pytest.approx(989 / 494 / 8)
  unknown = measuring.described(PROGRAM, [0.004], None, "float32")
  assert unknown["share_of_best"] is unknown["limit"] is None
  assert unknown["peak"] is None


def test_windows_wait_at_their_ends_alone(monkeypatch):
  calls, waits = [], []
  monkeypatch.setattr(jax, "block_until_ready", lambda x: waits.append(x))

  def call():
    calls.append(None)
    time.sleep(0.002)
    return len(calls)

  taken = measuring.timed(call, 0.1)
  assert len(taken) == measuring.WINDOWS == len(waits) - 2
  inside = np.diff(waits[1:])
  assert len(set(inside.tolist())) == 1 and 4 <= inside[0] <= 10
  assert all(0.002 <= each < 0.02 for each in taken)
  slow = measuring.timed(lambda: time.sleep(0.01), 0.01)
  assert len(slow) == 3, "no more than it takes"


class Card:
  def __init__(self, kind, held=None):
    self.device_kind, self._held = kind, held

  def memory_stats(self):
    return None if self._held is None else {"peak_bytes_in_use": self._held}


class Cards:
  """A mesh, as far as that is looked at."""

  def __init__(self, *cards):
    self.devices = np.array(cards, object)
    self.local_devices, self.size = cards, len(cards)


def test_limits_and_memory_are_of_the_devices(mesh):
  two = Cards(Card("NVIDIA H200", 5), Card("NVIDIA H200", 8))
  assert measuring.known(two) == topologies.parse("h200:2")
  assert measuring.peak(two) == 8
  # Others of the name are slower.
  assert measuring.known(Cards(Card("NVIDIA H200 NVL"))) is None
  assert measuring.known(mesh) is measuring.peak(mesh) is None


def test_rounds_of_clients_are_refused(mesh):
  clients = tiny.dp_multitask()
  clients.federated.clients = 3
  with pytest.raises(SettingError, match=r"config\.federated"):
    measuring.Bench(clients, mesh)
