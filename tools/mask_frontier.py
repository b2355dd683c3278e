"""Masks of one hidden ratio: how well they serve recognition, and attackers.

  python -m tools.mask_frontier --base=runs/real --workdir=runs/frontier

takes a finished run of mask_desensitization, and lays other masks over its test
photographs: candidates of its search that hide as much as its own mask, from
the least loss to the greatest, and random ones that were drawn without its
template. Of each it tells how many pairs the recogniser `aware` tells right,
both of them masked, and how many people recognisers of others find by another
photograph, in masked photographs and in those that were repaired in closed
form: the strongest of naive, reverse and parrot recognition. Writes
frontier.json, frontier.md, and a chart, frontier.svg.
"""

import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from etils import epath

from jaxpriv import files
from jaxpriv.attacks import reidentification, repair, verification
from jaxpriv.attacks.threat import People
from jaxpriv.errors import SettingError
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training import mechanism
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target
from launch import common
from tools import finished_run
from tools import mask_frontier_rows as rows_lib
from tools.mask_frontier_rows import Row

_BASE = flags.DEFINE_string(
  "base", None, "A finished run of mask_desensitization that has searched."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept.")
_MASKS = flags.DEFINE_integer("masks", 6, "Of each kind, beside its own.", 1)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh, workdir = mesh_lib.make_mesh(), epath.Path(_WORKDIR.value)
  base = files.expanded(_BASE.value)
  config = workdir_lib.load_config(base)
  phases = mechanism.phases(config)
  names = {phase.name for phase in phases}
  if (
    config.method != "mask_desensitization"
    or not {rows_lib.JUDGE, "search"} <= names
  ):
    raise SettingError(
      f"--base={base}: it is to have searched for a mask by {rows_lib.JUDGE},"
      " as mask_desensitization:demo does"
    )
  trained, _, people = finished_run.opened(config, base, workdir, mesh)
  target = mechanism.targets(config, trained)[0]
  if not people.witnesses():
    raise SettingError(
      "no recogniser of others is at hand: run python -m launch.fetch, and name"
      " some in config.evaluation.witnesses of the run"
    )
  rows: list[Row] = []
  for name, keep in rows_lib.masks(
    config, trained.states, _MASKS.value
  ).items():
    rows.append(measured(target, people, name, keep))
    logging.info("%s", rows_lib.table(rows[-1:]).splitlines()[-1])
    rows_lib.write(workdir, rows)
  print(rows_lib.table(rows))


def measured(
  target: Target, people: People, name: str, keep: np.ndarray
) -> Row:
  """Measures one mask: recognition under it, and people found behind it."""
  states = dict(target.trained.states)
  states["mask"] = {**states["mask"], "keep": jnp.asarray(keep)}
  other = target._replace(
    name=name, trained=target.trained._replace(states=states)
  )
  findings = [
    *verification.attack(other, people, counterpart=False),
    *_masked(other, people),
    *repair.attack(other, people, rounds=0),
  ]
  (judged,) = (
    f
    for f in findings
    if f.claim == "verification"
    and f.by == rows_lib.JUDGE
    and f.where["situation"].startswith("1")
  )
  found: dict[str, tuple[Interval, str]] = {}
  for witness in people.witnesses():
    strongest = max(
      (f for f in findings if rows_lib.is_of(f, witness.name)),
      key=lambda f: f.value,
    )
    found[witness.name] = (_interval(strongest), strongest.by)
  return Row(name, float(1 - keep.mean()), _interval(judged), found)


def _masked(target: Target, people: People):
  """Naive, reverse and parrot recognition of masked photographs."""
  identities = people.test.identities
  released = people.image(target, people.test)
  for reader in people.witnesses():
    originals = people.read(reader)
    plain = reidentification.undisguised(originals, identities)
    for rank in reidentification.attacks(
      originals, reader.read(released), identities
    ):
      yield reidentification.disguised_finding(target, rank, reader, plain)


def _interval(finding: Finding) -> Interval:
  return Interval(finding.value, finding.low, finding.high)


if __name__ == "__main__":
  flags.mark_flags_as_required(["base", "workdir"])
  common.run(main)
