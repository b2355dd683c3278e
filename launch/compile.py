"""Compiles the programs of a config for machines that are not here.

  python -m launch.compile --config=deep_poisoning:gpu --topology=h200:8
  python -m launch.compile --config=dp_multitask:paper --topology=v5e:4x4 \
    --phase=multi_task --config.dp.epsilon=8

For the step of each phase, and what it releases, it prints what a device has
to hold, to compute and to communicate, and how fast that can be at best.
Nothing is run, and no data are read: people are drawn ones, as many as CelebA
has, unless the config draws its own. Devices are a100, h100 and h200 (the extra
aot-gpu), v5e, v5p and v6e (aot-tpu), and cpu.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags, logging
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from jaxpriv import files
from jaxpriv.data import sources
from jaxpriv.data.procedural import factors, rendering
from jaxpriv.errors import SettingError, UserError
from jaxpriv.training import (
  ahead,
  budget,
  mechanism,
  settings,
  topologies,
)
from jaxpriv.training import run as run_lib
from jaxpriv.training.ahead import Program
from jaxpriv.training.topologies import Topology
from launch import common
from launch import config as config_lib

_GIB, _MIB = 2**30, 2**20
_WIDTH = 160
_COLUMNS = (
  *("program", "batch", "parameters", "holds", "of it temporary", "TFLOP"),
  *("communicated", "at best", "90% from", "compiled in"),
)
# The share of a step's time that is to be left for products.
_EFFICIENCY = 0.9
# Drawn people, and photographs of each, where the config's own are elsewhere.
_PEOPLE, _PHOTOGRAPHS = 10_177, 20

CompilerOf = Callable[[ConfigDict], ahead.Compiler]

_CONFIG = config_lib.define()
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Devices, as in h200:8, v5e:4x4 or cpu:8."
)
_PHASE = flags.DEFINE_list("phase", [], "Names of phases; all when empty.")
_LARGEST = flags.DEFINE_bool(
  "largest_batch", False, "Look for the largest batch that fits, by compiling."
)
_TUNED = flags.DEFINE_bool(
  "tuned",
  False,
  "Let the compiler of TPUs try as hard as for a run: several times slower.",
)
_JSON = common.path_flag("json", "", "A JSON file to write.")


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  topology = topologies.parse(_TOPOLOGY.value or "", _TUNED.value)
  _prepare(topology)
  mesh = topologies.make_mesh(topology)
  config, compiler_of, names = prepare(_CONFIG.value, mesh, topology)
  done: list[Program] = []
  told = Told([], {})
  try:
    for program in programs(config, compiler_of, names, _LARGEST.value, told):
      logging.info("%s: compiled in %.0f s", program.name, program.seconds)
      done.append(program)
      if _JSON.value:  # after each one: they may take hours
        _write(_JSON.value, config, done, told, topology)
  finally:
    if _JSON.value:
      _write(_JSON.value, config, done, told, topology)
    if done:
      width = max(Console().width, _WIDTH)  # wrapped cells cannot be read
      Console(width=width).print(table(done, topology, config.dtype))
  for sentence in told.sentences():
    print(sentence, flush=True)
  if not done:
    raise SettingError("nothing was compiled: no program fits")


class Told(NamedTuple):
  """Answers that stand beside the table of programs.

  Attributes:
    too_large: what the compiler found no room for, a sentence each.
    largest: phase -> the largest batch size of the config that was found to
      fit; 0 is none.
  """

  too_large: list[str]
  largest: dict[str, int]

  def sentences(self) -> Iterator[str]:
    yield from self.too_large
    for name, batch in self.largest.items():
      setting = f"config.phases.{name}.batch_size"
      yield f"{setting}: " + (
        f"{batch:,} is the largest that was found to fit"
        if batch
        else "none was found to fit"
      )


def _write(
  path: Any,
  config: ConfigDict,
  done: list[Program],
  told: Told,
  topology: Topology,
) -> None:
  rows = [described(program, topology, config.dtype) for program in done]
  content = {
    "config": config.mechanism,
    "arguments": [a for a in sys.argv[1:] if a.startswith("--config")],
    "topology": topology.name,
    # Compilers but those of TPUs do not know of it.
    "tuned": topology.tuned or topology.device.platform != "tpu",
    "jax": jax.__version__,
    "programs": rows,
    **told._asdict(),
  }
  files.atomic_write(path, json.dumps(content, indent=2) + "\n")


def _prepare(topology: Topology) -> None:
  """Settings of JAX that count before it looks for devices."""
  jax.config.update("jax_platforms", "cpu")
  if topology.kind == "cpu":
    jax.config.update("jax_num_cpu_devices", topology.size)
  # libtpu would ask for this machine's place among others, for minutes.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")


def prepare(
  config: ConfigDict, mesh: jax.sharding.Mesh, topology: Topology
) -> tuple[ConfigDict, CompilerOf, list[str]]:
  """Phases of a config as a run would have them, with people who are drawn.

  Returns:
    the config, resolved; config -> a compiler of its phases, of this config or
    one that differs in batches; and names of phases.

  Raises:
    SettingError: --phase names what there is not.
  """
  settings.check(config)
  config = settings.expand(config)
  stand_in = config.copy_and_resolve_references()
  attributes = sources.words(config.data.attributes)
  known = factors.ATTRIBUTE_NAMES
  with stand_in.unlocked():
    drawn = config.data.source == "procedural"
    stand_in.data.update(
      source="procedural",
      cache=False,
      copies="keep",
      # The networks of private configs are built on paper for its images.
      image_size=sorted(
        (rendering.MIN_SIZE, config.data.image_size, rendering.MAX_SIZE)
      )[1],
    )
    if not drawn:
      stand_in.data.update(
        num_identities=_PEOPLE, images_per_identity=_PHOTOGRAPHS
      )
    if attributes != ("all",):
      stand_in.data.attributes = known[: len(attributes)]
  data = run_lib.open_data(stand_in)
  config = run_lib.resolve(config, data)
  if attributes not in ((), ("all",)):
    config.data.attributes = attributes
  first = data._replace(splits={"first": data.splits["train"][:1]})
  record = next(first.epoch("first", batch_size=1, everywhere=True))
  side = config.data.image_size
  shapes = {
    name: jax.ShapeDtypeStruct(value.shape[1:], value.dtype)
    for name, value in record.items()
  }
  shapes["image"] = jax.ShapeDtypeStruct((side, side, 3), jnp.uint8)

  def compiler_of(config: ConfigDict) -> ahead.Compiler:
    # Some numbers of a private step are of the platform that it is for.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      phases = budget.privatise(mechanism.phases(config), config, data)[0]
    return ahead.Compiler(phases, shapes, mesh, topology)

  listed = mechanism.phases(config)
  trained = [p.name for p in listed if config.phases[p.name].steps]
  released = [p.name for p in listed if ahead.released(p)]
  unknown = set(_PHASE.value) - set(trained) - set(released)
  if unknown:
    raise SettingError(
      f"--phase names {', '.join(sorted(unknown))}: this config trains"
      f" {', '.join(trained) or 'nothing'}, and releases"
      f" {', '.join(released) or 'nothing'}"
    )
  return config, compiler_of, [p.name for p in listed]


def programs(
  config: ConfigDict,
  compiler_of: CompilerOf,
  names: list[str],
  largest: bool = False,
  told: Told | None = None,
) -> Iterator[Program]:
  """Compiles steps, and what is released, of phases that were asked for.

  Args:
    config: as `prepare` returns it.
    compiler_of: likewise.
    names: likewise.
    largest: whether to look for the largest batch of each step.
    told: takes what fits nowhere, and the largest batches.

  Raises:
    SettingError: devices cannot share the batch of one of them; before any is
      compiled.
  """
  told = told or Told([], {})
  wanted = _PHASE.value or names
  compiler = compiler_of(config)
  devices = compiler.mesh.size
  compiler.check(
    {
      name: config.phases[name].batch_size
      for name in wanted
      if config.phases[name].steps
    }
  )

  def fitting(compiled: Callable[..., Program], *arguments: Any):
    try:
      return compiled(*arguments)
    except ahead.TooLargeError as error:
      told.too_large.append(str(error))
      return None

  for name in wanted:
    options = config.phases[name]
    if options.steps:
      program = fitting(compiler.step, name, options.batch_size)
      if program:
        yield program
      if largest:
        yield from _largest(config, compiler_of, name, program, compiler, told)
    for output in compiler.outputs(name):
      rows = config.release.batch_size or options.batch_size
      program = fitting(
        compiler.output, name, output, -(-rows // devices) * devices
      )
      if program:
        yield program


def _largest(
  config: ConfigDict,
  compiler_of: CompilerOf,
  name: str,
  first: Program | None,
  compiler: ahead.Compiler,
  told: Told,
) -> Iterator[Program]:
  """Steps of a phase of other batches; notes the largest that fits."""

  def step(batch: int) -> Program:
    other = config.copy_and_resolve_references()
    other.phases[name].batch_size = batch
    return compiler_of(other).step(name, batch)

  topology, own = compiler.topology, config.phases[name].batch_size
  if not topology.device.memory:
    logging.warning("--largest_batch: how much a %s holds is not known",
                    topology.kind)  # fmt: skip
    return
  best = own if first and first.fits(topology) else 0
  try:
    for batch, program in ahead.largest(step, own, first, topology):
      if program:
        yield program
        if program.fits(topology):
          best = max(best, batch)
  except UserError as error:  # its plan has no larger batch, say
    logging.warning("%s: no other batch is tried: %s", name, error)
  told.largest[name] = best


def described(
  program: Program, topology: Topology, dtype: str
) -> dict[str, Any]:
  """A program as JSON; sizes in bytes, times in seconds."""
  row = program._asdict()
  row["collectives"] = {
    kind: each._asdict() for kind, each in program.collectives.items()
  }
  bounds = program.bounds(topology, dtype)
  return {
    **row,
    "fits": program.fits(topology),
    "bounds": bounds,
    "efficient_batch": efficient_batch(program, bounds),
  }


def efficient_batch(program: Program, bounds: dict[str, float]) -> int | None:
  """Rows from which products take 90% of the time, if communication waits.

  That is reckoned at the published peak of both, with as much to communicate
  whatever the batch: of gradients, and not of activations.

  Args:
    program: a step.
    bounds: of it, see `ahead.Program.bounds`; without them, or products, there
      is no such number.
  """
  if not bounds or not bounds["compute"]:
    return None
  share = _EFFICIENCY / (1 - _EFFICIENCY)
  ratio = share * bounds["communication"] / bounds["compute"]
  return max(math.ceil(ratio * program.batch), 1)


def table(done: list[Program], topology: Topology, dtype: str) -> Table:
  """Programs for people to read."""
  shown = Table(
    title=f"{topology.size} x {topology.kind}, {dtype}: for one device",
    box=box.SIMPLE_HEAD,
  )
  for column in _COLUMNS:
    left = column in ("program", "communicated", "at best")
    shown.add_column(column, justify="left" if left else "right")
  for program in done:
    shown.add_row(
      program.name,
      f"{program.batch:,}",
      f"{program.parameters / _MIB:,.1f} MiB",
      _held(program, topology),
      f"{program.temporaries / _GIB:.2f} GiB",
      f"{program.flops / program.devices / 1e12:.3f}",
      "\n".join(
        f"{each.number} {kind}, {each.bytes / _MIB:,.1f} MiB"
        for kind, each in program.collectives.items()
      )
      or "nothing",
      _best(program, topology, dtype),
      _efficient(program, topology, dtype),
      f"{program.seconds:.0f} s",
    )
  return shown


def _held(program: Program, topology: Topology) -> str:
  held = f"{program.held / _GIB:.2f} GiB"
  if not topology.device.memory:
    return held
  share = program.held / topology.device.memory
  return f"{held}, {share:.0%}" + (
    "" if program.fits(topology) else ": does not fit"
  )


def _efficient(program: Program, topology: Topology, dtype: str) -> str:
  batch = efficient_batch(program, program.bounds(topology, dtype))
  return f"{batch:,}" if batch else ""


def _best(program: Program, topology: Topology, dtype: str) -> str:
  bounds = program.bounds(topology, dtype)
  if not bounds:
    return ""
  limit = max(bounds, key=lambda name: bounds[name])
  speed = program.examples / max(bounds[limit], 1e-12)
  return f"{speed:,.0f} images/s, by {limit}"


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  common.run(main)
