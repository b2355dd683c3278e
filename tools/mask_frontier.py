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

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from etils import epath

from jaxpriv import files
from jaxpriv.attacks import gathering, reidentification, repair, verification
from jaxpriv.attacks.reidentification import OTHER, RANK
from jaxpriv.attacks.threat import People
from jaxpriv.errors import SettingError
from jaxpriv.methods.mask_desensitization import search, template
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training import mechanism, run
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target, Trained
from launch import common
from tools.frontier_chart import line, text

SEARCHED, CANDIDATE, RANDOM = "searched", "candidate", "random"
COLOURS = {SEARCHED: "#b00", CANDIDATE: "#06c", RANDOM: "#777"}
ALIKE = 0.02  # hidden ratios may differ by so much
JUDGE = "aware"
LEFT, TOP, WIDE, HIGH = 60, 30, 560, 330  # of the chart, in pixels

_BASE = flags.DEFINE_string(
  "base", None, "A finished run of mask_desensitization that has searched."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept.")
_MASKS = flags.DEFINE_integer("masks", 6, "Of each kind, beside its own.", 1)


class Row(NamedTuple):
  """One mask.

  Attributes:
    name: its kind, and its number among those that were drawn.
    hidden: its ratio.
    recognition: share of pairs that are told right.
    found: witness -> share of people who are found, and by which attack.
  """

  name: str
  hidden: float
  recognition: Interval
  found: dict[str, tuple[Interval, str]]


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh, workdir = mesh_lib.make_mesh(), epath.Path(_WORKDIR.value)
  base = files.expanded(_BASE.value)
  config = workdir_lib.load_config(base)
  phases = mechanism.phases(config)
  names = {phase.name for phase in phases}
  if config.method != "mask_desensitization" or not {JUDGE, "search"} <= names:
    raise SettingError(
      f"--base={base}: it is to have searched for a mask by {JUDGE}, as"
      " mask_desensitization:demo does"
    )
  data = run.open_data(config)
  trained = Trained(tuple(phases), run.load_phases(phases, config, base, mesh))
  target = mechanism.targets(config, trained)[0]
  people = gathering.gather(
    config, workdir / "attackers", mesh, data, trained,
    mechanism.products(trained), tuple(config.data.attributes),
  )  # fmt: skip
  if not people.witnesses():
    raise SettingError(
      "no recogniser of others is at hand: run python -m launch.fetch, and name"
      " some in config.evaluation.witnesses of the run"
    )
  rows: list[Row] = []
  for name, keep in masks(config, trained.states, _MASKS.value).items():
    rows.append(measured(target, people, name, keep))
    logging.info("%s", table(rows[-1:]).splitlines()[-1])
    write(workdir, rows)
  print(table(rows))


def masks(config, states, count: int) -> dict[str, np.ndarray]:
  """Name -> bool [S, S], 1 is visible: the mask of a run, and others."""
  found, model = states["search"], config.model
  own = np.asarray(states["mask"]["keep"])
  losses, hidden = (np.asarray(found[k]) for k in ("losses", "hidden"))
  ratio = 1 - own.mean()
  alike = np.flatnonzero(np.abs(hidden - ratio) < ALIKE)
  alike = alike[np.argsort(losses[alike], kind="stable")]
  places = np.linspace(0, len(alike) - 1, count).round().astype(int)
  critical = template.critical(
    states["template"], model.template.threshold, 1 - model.search.hidden[1]
  )
  options = model.search.to_dict()
  draw = jax.jit(
    lambda number, critical: search.candidate(
      config.seed, number, critical, options
    )
  )
  chosen = {SEARCHED: own}
  for number in dict.fromkeys(alike[places].tolist()):
    if number != int(states["mask"]["number"]):
      chosen[f"{CANDIDATE} {number}"] = np.asarray(draw(number, critical))
  options = {**options, "hidden": (ratio, ratio)}
  nothing = jnp.zeros_like(critical)
  for number in range(count):
    keep = search.candidate(config.seed + 1, number, nothing, options)
    chosen[f"{RANDOM} {number}"] = np.asarray(keep)
  return chosen


def measured(
  target: Target, people: People, name: str, keep: np.ndarray
) -> Row:
  """What a mask is good for, and how many people are found behind it."""
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
    and f.by == JUDGE
    and f.where["situation"].startswith("1")
  )
  found: dict[str, tuple[Interval, str]] = {}
  for witness in people.witnesses():
    strongest = max(
      (f for f in findings if _of(f, witness.name)), key=lambda f: f.value
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


def _of(finding: Finding, witness: str) -> bool:
  where = finding.where
  return (
    finding.metric == RANK
    and where.get("gallery") == OTHER
    and where.get("recogniser") == witness
  )


def _interval(finding: Finding) -> Interval:
  return Interval(finding.value, finding.low, finding.high)


def write(workdir: epath.Path, rows: list[Row]) -> None:
  workdir.mkdir(parents=True, exist_ok=True)
  content = [row._asdict() for row in rows]
  files.atomic_write(workdir / "frontier.json", json.dumps(content, indent=1))
  files.atomic_write(workdir / "frontier.md", table(rows))
  files.atomic_write(workdir / "frontier.svg", chart(rows))


def table(rows: list[Row]) -> str:
  witnesses = list(rows[0].found)
  head = ["mask", "hidden", f"{JUDGE}, both masked"]
  for name in witnesses:
    head += [name, "by"]
  lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
  for row in rows:
    cells = [row.name, f"{row.hidden:.1%}", _percent(row.recognition)]
    for name in witnesses:
      interval, by = row.found[name]
      cells += [_percent(interval), by]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _percent(interval: Interval) -> str:
  value, low, high = (f"{x:.1%}" for x in interval)
  return f"{value} ({low} to {high})"


def chart(rows: list[Row]) -> str:
  """SVG: who is found by the better witness, over what recognition is left."""
  worst = [max(row.found.values(), key=lambda x: x[0].value)[0] for row in rows]
  shares = [row.recognition for row in rows]
  first = min(x.low for x in shares) - 0.01
  last = max(x.high for x in shares) + 0.01
  highest = max(x.high for x in worst) * 1.05
  across = lambda x: LEFT + WIDE * (x - first) / (last - first)
  down = lambda x: TOP + HIGH * (1 - x / highest)
  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 40}'
    f' {TOP + HIGH + 60}" font-family="sans-serif" font-size="13">',
    '<rect width="100%" height="100%" fill="#fff"/>',
    text(LEFT, 18, "people found by another photograph", "start"),
    text(LEFT + WIDE / 2, TOP + HIGH + 45, f"pairs told right by {JUDGE}"),
  ]
  for percent in range(0, int(100 * highest) + 1, 10):
    y = down(percent / 100)
    parts += [
      line(LEFT, y, LEFT + WIDE, y, 'stroke="#ddd"'),
      text(LEFT - 8, y + 4, f"{percent}%", "end"),
    ]
  for percent in range(int(100 * first) + 1, int(100 * last) + 1, 2):
    parts.append(text(across(percent / 100), TOP + HIGH + 20, f"{percent}%"))
  for row, found in zip(rows, worst, strict=True):
    colour = COLOURS[row.name.split(" ")[0]]
    x, y = across(row.recognition.value), down(found.value)
    thin = f'stroke="{colour}" stroke-opacity="0.4"'
    parts += [
      line(x, down(found.low), x, down(found.high), thin),
      line(
        across(row.recognition.low), y, across(row.recognition.high), y, thin
      ),
      f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>',
    ]
  for i, (kind, colour) in enumerate(COLOURS.items()):
    y = TOP + 16 + 18 * i
    parts += [
      f'<circle cx="{LEFT + 16}" cy="{y - 4}" r="5" fill="{colour}"/>',
      text(LEFT + 28, y, kind, "start"),
    ]
  return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
  flags.mark_flags_as_required(["base", "workdir"])
  common.run(main)
