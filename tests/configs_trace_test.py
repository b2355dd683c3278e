"""Every config can be run at every scale and with every option: on paper.

Phase after phase is traced as the loop and the programs would run it, in the
batches that the config's data give, and nothing is allocated or compiled. A
module of configs/ that is added is in all of it, and so is an option of it.
"""

import gc
import importlib
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import common
from jaxpriv import platforms
from jaxpriv.data import images, tfds_source
from jaxpriv.training import budget, inference, mechanism
from jaxpriv.training import run as run_lib

CONFIGS = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[1] / "configs").glob("*.py")
  if path.stem not in ("__init__", "common")
)
# Where the option is the mechanism.
ALWAYS_WITH_OPTION = {"baseline"}

# Of CelebA: 10,177 people and 40 attributes, the default ones among them.
PEOPLE, PHOTOGRAPHS = 10_177, 20
ATTRIBUTES = (
  *tfds_source._CELEB_A_DEFAULT,
  *(f"Attribute_{number}" for number in range(36)),
)


def arguments(name):
  """What may stand behind --config=configs/NAME.py: ."""
  options = importlib.import_module(f"configs.{name}").OPTIONS
  for scale in common.SCALES:
    if name not in ALWAYS_WITH_OPTION:
      yield scale
    for option in options:
      yield f"{scale},{option}"


class CelebA:
  """Undecoded examples as TFDS gives them; one photograph is all of them."""

  def __init__(self):
    names = tfds_source._CELEB_A_POINTS
    self._example = {
      "image": images.encode(np.zeros((218, 178, 3), np.uint8)),
      "attributes": dict.fromkeys(ATTRIBUTES, False),
      "landmarks": {f"{n}_{axis}": 0 for n in names for axis in "xy"},
    }

  def __len__(self):
    return PEOPLE * PHOTOGRAPHS

  def __getitem__(self, index):
    if index >= len(self):
      raise IndexError(index)
    identity = {"Identity_No": index // PHOTOGRAPHS}
    return {**self._example, "identity": identity}


@pytest.fixture(scope="module", autouse=True)
def no_garbage_collection():
  """Of a trace little is garbage, and looking for it takes half the time."""
  gc.disable()
  yield
  gc.enable()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Of labelled photographs, for configs that are given one."""
  path = tmp_path_factory.mktemp("folder")
  Image.new("RGB", (300, 300)).save(path / "face.png")
  rows = [f"face.png,{i},{'MF'[i % 2]},90,90,200,200" for i in range(2000)]
  header = "file,identity,gender,x0,y0,x1,y1"
  (path / "labels.csv").write_text("\n".join([header, *rows]))
  return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
  """Of pictures of two people each, for configs of scenes."""
  path = tmp_path_factory.mktemp("scenes")
  picture = Image.new("RGB", (60, 40))
  rows = ["file,identity,x0,y0,x1,y1"]
  for i in range(100):
    picture.save(path / f"{i}.png")
    rows += [f"{i}.png,{2 * i + j},{30 * j},8,{30 * j + 20},32" for j in (0, 1)]
  (path / "labels.csv").write_text("\n".join(rows))
  return path


@pytest.fixture(scope="module")
def opened(folder, scenes):
  """config -> (config as a run resolves it, Data), opened once each."""
  known = {}

  def open_once(config):
    # Neither draw all photographs nor look for copies among them.
    config.data.update(cache=False, copies="keep")
    if config.data.source == "folder":
      config.data.path = str(scenes if config.data.max_faces else folder)
    if "folder" in config.get("model", {}):
      config.model.folder = str(scenes)  # fewer faces
    described = config.data.to_json_best_effort()
    if described not in known:
      known[described] = run_lib.open_data(config)
    return run_lib.resolve(config, known[described]), known[described]

  features = {"identity": None, "attributes": ATTRIBUTES}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tfds_source, "_open", lambda *args: (CelebA(), features))
    yield open_once


@pytest.fixture(scope="module")
def compiled_networks():
  return {}


@pytest.fixture
def networks_once(monkeypatch, compiled_networks):
  """Traces a network once for each shape it is given, in whichever config.

  Options of a config have most of their networks in common, and nothing takes
  as long to trace as those. Equal modules are equal programs, so that `jax.jit`
  finds the one it has traced.
  """

  def once(kind, original):
    def run(module, first, *args, method=None, rngs=None, **settings):
      fixed = {
        k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
      }
      where = platforms.on_cpu()  # layers choose their route by it
      key = (kind, module, method, tuple(sorted(fixed.items())), where)
      if key not in compiled_networks:
        given = {**settings, **({"method": method} if method else {})}

        def call(first, args, rngs):
          more = {"rngs": rngs} if rngs is not None else {}
          return original(module, first, *args, **given, **more)

        compiled_networks[key] = jax.jit(call)
      return compiled_networks[key](first, args, rngs)

    return run

  for kind in ("init", "apply"):
    monkeypatch.setattr(nn.Module, kind, once(kind, getattr(nn.Module, kind)))


def begin(argument, monkeypatch, opened):
  """(config, its data) of NAME:ARGUMENT, on the machine that it is for."""
  name, argument = argument.split(":")
  if not argument.startswith("demo"):
    # Layers have routes of their own there, and what is traced is to be those.
    monkeypatch.setattr(platforms, "on_cpu", lambda: False)
  config = importlib.import_module(f"configs.{name}").get_config(argument)
  return opened(config)


def rows_of(record, count, **more):
  """A batch of so many rows like the one of `record`, as shapes."""
  rows = {
    name: (value.shape[1:], value.dtype) for name, value in record.items()
  }
  return {
    name: jax.ShapeDtypeStruct(
      (count, *shape), jax.dtypes.canonicalize_dtype(dtype)
    )
    for name, (shape, dtype) in {**rows, **more}.items()
  }


def shapes_of(tree):
  """A tree with what can be compared of each leaf."""
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def trace(phases, config, data, mesh):
  """Traces all of the phases; returns the shapes of their states."""
  run_lib.check_batch_sizes(phases, config, data, mesh)
  first = data._replace(splits={"first": data.splits["train"][:1]})
  record = next(first.epoch("first", batch_size=1, everywhere=True))
  key = jax.eval_shape(lambda: jax.random.key(0))
  finished, released = {}, {}
  with jax.set_mesh(mesh):
    for phase in phases:
      method, where = phase.method, f"phase {phase.name}"
      count = config.phases[phase.name].batch_size
      if phase.plan:
        count = phase.plan.sampler(mesh.size).rows * phase.plan.rows_per_unit
      frozen = {name: finished[name] for name in phase.needs}
      batch = rows_of(record, count)

      def init(key, batch, frozen, method=method):
        return method.init(key, inference.as_float(batch), frozen)

      def step(state, frozen, batch, key, step, method=method):
        key = jax.random.fold_in(key, step)
        return method.step(state, frozen, inference.as_float(batch), key)

      state = jax.eval_shape(init, key, batch, frozen)
      for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
          said = f"{where}: {jax.tree_util.keystr(path)}"
          assert leaf.dtype == jnp.float32, said
      number = jax.ShapeDtypeStruct((), jnp.int32)
      new, metrics = jax.eval_shape(step, state, frozen, batch, key, number)
      assert shapes_of(new) == shapes_of(state), where
      assert all(x.shape == () for x in jax.tree.leaves(metrics)), where
      state = {name: value for name, value in state.items() if name != "opt"}
      finished[phase.name] = state

      functions = method.outputs.given()
      if method.cross_example:
        functions["cross_example"] = method.cross_example
      for name, fn in functions.items():
        said = f"{where}: {name}"
        whole = name == "image" and not config.release.batch_size
        rows = len(data.splits["test"]) if whole else count
        batch = rows_of(record, rows, **released)
        output = jax.eval_shape(
          lambda s, f, b, fn=fn: fn(s, f, inference.as_float(b)),
          state,
          frozen,
          batch,
        )
        leaves = jax.tree.leaves(output)
        assert leaves and all(x.shape[0] == rows for x in leaves), said
        images = batch["image"].shape
        if name == "image":
          assert (output.shape, output.dtype) == (images, jnp.float32), said
        if name == "sample":
          assert all(x.shape[0::3] == (rows, 3) for x in leaves), said
        if name in ("features", "clean_features"):
          assert output.dtype == jnp.float32, said
          # As they are kept and given away, and read again by other outputs.
          released["features"] = (output.shape[1:], jnp.float16)
          released["code"] = ((config.model.dpm.code,), jnp.float32)
  return finished


@pytest.mark.parametrize(
  "argument", [f"{name}:{a}" for name in CONFIGS for a in arguments(name)]
)
def test_every_config_can_be_traced(
  argument, monkeypatch, networks_once, opened, mesh
):
  config, data = begin(argument, monkeypatch, opened)
  trace(mechanism.phases(config), config, data, mesh)


@pytest.mark.parametrize("scale", common.SCALES)
def test_a_code_with_noise_can_be_traced(scale, monkeypatch, opened, mesh):
  config, data = begin(f"embedded_autoencoder:{scale}", monkeypatch, opened)
  config.model.code.update(pooled=True, code=1, noise=0.5)
  config.model.secret = 7
  trace(mechanism.phases(config), config, data, mesh)


@pytest.mark.parametrize(
  "scale,unit,views",
  [
    *((scale, "image", 1) for scale in common.SCALES),
    ("demo", "person", 1),
    ("gpu", "image", 4),
  ],
)
def test_every_scale_can_be_private(
  scale, unit, views, monkeypatch, opened, mesh
):
  config, data = begin(f"dp_multitask:{scale}", monkeypatch, opened)
  # Given, it need not be found.
  config.dp.update(
    noise_multiplier=1.0, unit=unit, augmentation_multiplicity=views
  )
  phases, config = budget.privatise(mechanism.phases(config), config, data)
  assert all(phase.plan for phase in phases)
  states = trace(phases, config, data, mesh)
  assert all("privacy" in state for state in states.values())
