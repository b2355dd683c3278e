"""Programs of configs are compiled without data, and told in a table."""

import io
import json

import pytest
from absl.testing import flagsaver
from rich.console import Console

from configs import face_replacement
from jaxpriv.errors import SettingError
from jaxpriv.training import ahead, topologies
from jaxpriv.training.ahead import Program
from launch import compile as program
from tests import tiny

CPU = topologies.parse("cpu:8")
H200 = topologies.parse("h200:8")


def compiled(config, mesh, topology=CPU, **options):
  config, compiler_of, names = program.prepare(config, mesh, topology)
  return list(program.programs(config, compiler_of, names, **options))


def text(done, topology):
  console = Console(file=io.StringIO(), width=200)
  console.print(program.table(done, topology, "float32"))
  return console.file.getvalue()


@pytest.mark.parametrize("private", [False, True])
def test_steps_are_compiled_and_told(private, mesh):
  config = tiny.dp_multitask()
  config.data.update(num_identities=40, images_per_identity=4)
  if private:
    config.dp.update(noise_multiplier=1.0)
  (step,) = compiled(config, mesh)
  assert step.name == "multi_task" and step.devices == 8
  assert step.examples == 16
  assert step.batch > 16 if private else step.batch == 16
  assert step.flops > 0 and step.collectives
  shown = text([step], CPU)
  assert "multi_task" in shown and "all-reduce" in shown
  assert "images/s" not in shown  # the limits of a CPU are not known
  assert "images/s, by" in text([step], H200)
  huge = step._replace(held=2 * 10**11)
  assert "does not fit" in text([huge], H200)
  row = program.described(step, H200, "float32")
  assert json.loads(json.dumps(row))["collectives"]["all-reduce"]["number"]
  assert row["fits"] and set(row["bounds"]) == {
    "compute", "memory", "communication",
  }  # fmt: skip


@pytest.mark.parametrize("tuned", [False, True])
def test_a_compiler_tries_as_hard_as_it_is_told(tuned, tmp_path, monkeypatch):
  asked = []

  def stop(topology):
    asked.append(topology)
    raise SettingError("no further")

  monkeypatch.setattr(program, "_prepare", lambda topology: None)
  monkeypatch.setattr(topologies, "make_mesh", stop)
  flags = flagsaver.flagsaver(topology="v5e:4x4", tuned=tuned)
  with flags, pytest.raises(SettingError, match="no further"):
    program.main(["compile"])
  (topology,) = asked
  assert bool(topology.options) != tuned
  config = tiny.dp_multitask()
  for devices, said in (topology, tuned), (H200, True):
    path = tmp_path / devices.kind
    program._write(path, config, [], program.Told([], {}), devices)
    assert json.loads(path.read_text())["tuned"] == said


def test_the_batch_whose_communication_is_a_tenth():
  """Nine times as much is computed as communicated, at that many rows."""
  bounds = {"compute": 0.02, "communication": 0.03, "memory": 1.0}
  step = Program("a", 64, 64, 8, 0, 0, 0, 0, 0, 1.0, {}, 0.0)
  rows = program.efficient_batch(step, bounds)
  assert rows == 864  # 864 / 64 * 0.02 = 9 * 0.03
  assert program.efficient_batch(step, {**bounds, "communication": 0}) == 1
  assert program.efficient_batch(step, {**bounds, "compute": 0}) is None
  assert program.efficient_batch(step, {}) is None


def test_data_of_others_are_not_read(mesh):
  """What is released is compiled."""
  config = face_replacement.get_config("demo")
  config.data.update(source="folder", path="/nowhere", image_size=32)
  config.release.batch_size = 6
  image, cut_out = compiled(config, mesh)
  assert (image.name, image.batch) == ("replacement: image", 8)
  assert cut_out.name == "replacement: cut_out"


@flagsaver.flagsaver(phase=["other"])
def test_phases_that_there_are_not_are_refused(mesh):
  with pytest.raises(SettingError, match="other: this config trains multi_t"):
    compiled(tiny.dp_multitask(), mesh)


@flagsaver.flagsaver(phase=["replacement"])
def test_a_phase_that_only_releases_may_be_asked_for(mesh):
  config = face_replacement.get_config("demo")
  config.data.image_size = 32
  image, _ = compiled(config, mesh)
  assert image.name == "replacement: image"


@pytest.mark.parametrize("private", [False, True])
def test_the_largest_batch_is_that_of_the_config(private, mesh, monkeypatch):
  """A private step has rows that its plan adds."""
  config = tiny.dp_multitask()
  config.data.update(num_identities=40, images_per_identity=4)
  if private:
    config.dp.update(noise_multiplier=1.0)
  tried = []

  def step(self, name, batch):
    tried.append((batch, ahead._drawn(self._phases[name], batch, 8)[0]))
    fits = batch <= 24
    return Program(
      name, batch, batch, 8, 0, 10**9 if fits else 10**12, 0, 0, 0, 0.0, {}, 0.0
    )

  monkeypatch.setattr(ahead.Compiler, "step", step)
  told = program.Told([], {})
  done = compiled(config, mesh, H200, largest=True, told=told)
  assert [each.batch for each in done] == [16, 32, 24]
  assert told.largest == {"multi_task": 24}
  assert "batch_size: 24 is the largest" in next(told.sentences())
  assert [batch for batch, _ in tried] == [16, 32, 24]
  assert all((rows > batch) == private for batch, rows in tried)


def test_what_does_not_fit_is_told_and_the_rest_is_compiled(mesh, monkeypatch):
  config = tiny.embedded_autoencoder()

  def step(self, name, batch):
    if name == "fsn":
      raise ahead.TooLargeError("fsn: no room")
    return Program(name, batch, batch, 8, 0, 0, 0, 0, 0, 0.0, {}, 0.0)

  monkeypatch.setattr(ahead.Compiler, "step", step)
  monkeypatch.setattr(ahead.Compiler, "outputs", lambda self, name: [])
  told = program.Told([], {})
  done = compiled(config, mesh, told=told)
  assert [each.name for each in done] == ["pen", "external", "internal"]
  assert list(told.sentences()) == ["fsn: no room"]


def test_all_batches_are_checked_before_one_is_compiled(mesh, monkeypatch):
  config = tiny.embedded_autoencoder()
  config.phases.external.batch_size = 12
  config.phases.internal.batch_size = 20
  monkeypatch.delattr(ahead.Compiler, "step")
  with pytest.raises(
    SettingError, match="external, of 12 rows, internal, of 20 rows"
  ):
    compiled(config, mesh)


@pytest.mark.parametrize("private", [False, True])
def test_a_round_of_clients_is_a_step(private, mesh):
  """Three of them take two steps each; slots that none is in are padding."""
  config = tiny.dp_multitask()
  config.data.update(num_identities=40, images_per_identity=4)
  config.federated.update(clients=3, local_steps=2)
  if private:
    config.dp.update(noise_multiplier=1.0)
  (step,) = compiled(config, mesh)
  rows = config.phases.multi_task.batch_size
  assert step.examples == 3 * 2 * rows
  if private:
    assert step.batch % (8 * 2) == 0 and step.batch > 8 * 2 * rows
  else:
    assert step.batch == 8 * 2 * rows


def test_private_networks_are_built_for_images_of_the_config(mesh):
  """Of 32 pixels: a reconstructor enlarges features to that side alone."""
  config = tiny.deep_poisoning()
  config.data.update(num_identities=40, images_per_identity=4)
  config.dp.noise_multiplier = 1.0
  for part in ("dpm", "reconstructor", "resnet", "vgg"):
    config.model[part].norm = "group"
  config, compiler_of, names = program.prepare(config, mesh, CPU)
  assert compiler_of(config) and "reconstructor" in names
