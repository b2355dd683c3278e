"""The masks of `tools.mask_frontier`, their table and their chart."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxpriv import files
from jaxpriv.attacks.reidentification import OTHER, RANK
from jaxpriv.methods.mask_desensitization import search, template
from jaxpriv.metrics.finding import Finding, Interval
from tools.frontier_chart import line, text

SEARCHED, CANDIDATE, RANDOM = "searched", "candidate", "random"
COLOURS = {SEARCHED: "#b00", CANDIDATE: "#06c", RANDOM: "#777"}
ALIKE = 0.02  # hidden ratios may differ by so much
JUDGE = "aware"
LEFT, TOP, WIDE, HIGH = 60, 30, 560, 330  # of the chart, in pixels


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


def is_of(finding: Finding, witness: str) -> bool:
  where = finding.where
  return (
    finding.metric == RANK
    and where.get("gallery") == OTHER
    and where.get("recogniser") == witness
  )


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
