"""A training process for tests: worker.py WORKDIR STEPS [options].

Prints the losses of all logged steps and a hash of the final parameters as one
line of JSON. With --slow it sleeps at each batch, with --slow-end in the final
evaluation, to be killed in time.
"""

import argparse
import hashlib
import itertools
import json
import time

import jax

from jaxpriv.training import (
  budget,
  lock,
  loop,
  preemption,
  recipes,
  run,
  writers,
)
from jaxpriv.training import mesh as mesh_lib
from tests import people
from tests.training import toys


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir")
  parser.add_argument("steps", type=int)
  parser.add_argument("--devices", type=int, default=1)
  parser.add_argument("--slow", type=float, default=0.0)
  parser.add_argument("--slow-end", type=float, default=0.0)
  parser.add_argument("--save-every", type=int, default=4)
  parser.add_argument("--process", type=int, default=0)
  parser.add_argument("--processes", type=int, default=1)
  parser.add_argument("--port", type=int, default=0)
  parser.add_argument("--private", action="store_true")
  args = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", args.devices)
  if args.processes > 1:
    jax.distributed.initialize(
      f"localhost:{args.port}", args.processes, args.process
    )

  def batches(first):
    rows = 16 // args.processes
    mine = slice(args.process * rows, (args.process + 1) * rows)
    for batch in toys.batches(first):
      time.sleep(args.slow)
      yield {name: value[mine] for name, value in batch.items()}

  def validation():
    time.sleep(args.slow_end)
    return itertools.islice(batches(0), 1)

  try:
    with lock.hold(args.workdir):
      train(args, batches, validation)
  except preemption.Preempted as stop:
    print(stop, flush=True)
    raise


def train(args, batches, validation):
  if args.private:
    state = train_privately(args.workdir, args.steps)
  else:
    state = loop.train(
      toys.phase(norm="group", dropout=0.5),
      batches,
      steps=args.steps,
      seed=0,
      workdir=args.workdir,
      mesh=mesh_lib.make_mesh(),
      validation=validation if args.slow_end else None,
      options=loop.Options(log_every=1, save_every=args.save_every),
    )
  report(args.workdir, state)


def train_privately(workdir, steps):
  """By person, through all that a run with a budget goes through."""
  config = toys.config()
  config.dp.update(
    epsilon=8.0, delta=1e-3, accountant="rdp", unit="person",
    images_per_person=3,
  )  # fmt: skip
  config.phases.toy.update(steps=steps, batch_size=4)
  config.train.validation_images = 0
  config.train.log_every = 1
  data = people.named(people.PEOPLE)
  phase = recipes.supervised_phase(
    "toy", toys.Net("group"), toys.regression_loss, config.phases.toy
  )
  phases, config = budget.privatise([phase], config, data)
  return run.train_phases(phases, config, data, workdir, mesh_lib.make_mesh())[
    "toy"
  ]


def report(workdir, state):
  digest = hashlib.sha256()
  for leaf in toys.leaves(mesh_lib.fetch(state)):
    digest.update(leaf.tobytes())
  lines = writers.read_metrics(workdir, "toy")
  names = ("loss", "not_private/loss")
  losses = [line[n] for line in lines for n in names if n in line]
  print(json.dumps({"losses": losses, "hash": digest.hexdigest()}), flush=True)


if __name__ == "__main__":
  main()
