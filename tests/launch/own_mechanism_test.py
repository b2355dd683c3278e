"""A mechanism of somebody else, in a file of their own and nowhere else.

A mechanism that releases images and a model, an attack on it and a metric: they
are trained, evaluated, reported and released by the programs as they are.
"""

import importlib
import io
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from rich.console import Console

from configs import common as configs
from jaxpriv.metrics import finding, statistics
from jaxpriv.metrics.finding import METRICS, Interval, Metric
from jaxpriv.release import release
from jaxpriv.release.photographs import Input
from jaxpriv.reports import terminal
from jaxpriv.training import builders, mechanism
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Score, Target
from jaxpriv.training.method import Outputs, Phase
from launch import common, evaluate

ME = "tests.launch.own_mechanism_test"


# A mechanism.


class Tint(nn.Module):
  """Images times a learned colour."""

  @nn.compact
  def __call__(self, x, train=False):
    return x * self.param("colour", nn.initializers.ones, (3,))


def phases(config):
  def loss(apply, batch, frozen):
    return jnp.mean(jnp.square(apply(batch["image"])), (1, 2, 3)), {}

  def scores(apply, batch, frozen):
    return {"warmth": apply(batch["image"])[..., 0].mean((1, 2))}

  outputs = Outputs(
    image=lambda apply, batch, frozen: apply(batch["image"]),
    scores=scores,
  )
  method = builders.supervised(Tint(), loss, optax.sgd(0.1), outputs=outputs)
  return [Phase("tint", (), method)]


def targets(config, trained):
  scores = lambda arrays: {"warmth": Score("warmth", "glow", 0.01)}
  products = (mechanism.IMAGE, mechanism.MODEL)
  return mechanism.with_controls(
    Target(
      "tint",
      config,
      trained,
      products,
      scores=scores,
      limits=("Tints fade.",),
    )
  )


# A metric.

METRICS["glow"] = Metric("lumen", kept=0.5, about="how bright it is")


# An attack.

PRODUCTS = ("image",)


def attack(target, people, brighter=1.0):
  """How bright the sun was is read in what is released."""
  shown = people.image(target, people.test).arrays["image"]
  read = lambda images: statistics.mean_interval(
    brighter * images.mean((1, 2, 3)) / 255, np.arange(len(images))
  )
  before = read(people.test.arrays["image"])
  yield finding.of(
    "sunlight", finding.HIDDEN, "glow", read(shown), subject=target.name,
    by="photometer", floor=0.0, where={"filter": "neutral"},
    ceiling=Interval(before.value, before.low, before.high),
  )  # fmt: skip


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory):
  config = configs.base(ME, "tint")
  config.data.update(
    source="folder", path=str(folder), image_size=32, max_bad_share=0.1
  )
  config.phases.tint = configs.phase(2, 8)
  config.attacks = dict(
    scores=dict(type="scores"),
    sunlight=dict(type=ME, brighter=2.0, controls=("pixelation",)),
  )
  config.evaluation.update(controls=("black_box", "pixelation"), witnesses=())
  path = tmp_path_factory.mktemp("run")
  common.train(config, path, mesh_lib.make_mesh())
  return path


def test_it_is_trained_evaluated_and_released(workdir, folder, tmp_path):
  mesh = mesh_lib.make_mesh()
  results = evaluate.evaluate(workdir, mesh)
  rows = {(f.subject, f.claim): f for f in results.findings}
  assert set(rows) == {
    ("tint", "sunlight"), ("tint", "warmth"), ("pixelation", "sunlight"),
  }  # fmt: skip
  sunlight = rows["tint", "sunlight"]
  assert finding.judge(sunlight, results.metrics["glow"]).level == finding.BAD
  assert rows["tint", "warmth"].floor == 0.01
  content = json.loads((workdir / "evaluation/metrics.json").read_text())
  assert content["products"] == ["image", "model"]
  assert content["not_claimed"] == ["Tints fade."]
  release.release(
    workdir, tmp_path / "out", mesh, Input(str(folder), max_bad_share=0.1)
  )
  files = {path.name for path in (tmp_path / "out").iterdir()}
  assert {"images", "labels.csv", "parameters.npz", "card.json"} <= files
  stream = io.StringIO()
  terminal.print_tables(results, Console(file=stream, width=100))
  for text in (
    (workdir / "evaluation/report.html").read_text(),
    (tmp_path / "out/CARD.md").read_text(),
    stream.getvalue(),
  ):
    for word in ("unlight", "photometer", "armth", "glow"):
      assert word in text, (word, text)


def test_an_interrupted_evaluation_goes_on(workdir, monkeypatch):
  """A finding that is there is not computed again."""
  mesh = mesh_lib.make_mesh()
  module, whole = importlib.import_module(ME), attack
  calls = []

  def killed(target, people, **options):
    calls.append(target.name)
    if target.control:
      raise KeyboardInterrupt
    yield from whole(target, people, **options)

  def counted(target, people, **options):
    calls.append(target.name)
    yield from whole(target, people, **options)

  monkeypatch.setattr(module, "attack", killed)
  with pytest.raises(KeyboardInterrupt):
    evaluate.evaluate(workdir, mesh)
  assert calls == ["tint", "pixelation"]
  assert (workdir / "evaluation/unfinished").exists()
  monkeypatch.setattr(module, "attack", counted)
  results = evaluate.evaluate(workdir, mesh)
  assert calls == ["tint", "pixelation", "pixelation"]
  assert len(results.findings) == 3
  assert not (workdir / "evaluation/unfinished").exists()


def test_what_does_not_fit_into_memory_is_read_from_files(workdir):
  """The figures are those of records in memory."""
  mesh = mesh_lib.make_mesh()
  before = evaluate.evaluate(workdir, mesh)
  config = workdir_lib.load_config(workdir)
  config.evaluation.memory = 0
  workdir_lib.save_config(workdir, config)
  assert evaluate.evaluate(workdir, mesh).findings == before.findings
