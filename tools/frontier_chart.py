"""The table and the chart of `tools.code_frontier`."""

import json
import math
from typing import NamedTuple

from etils import epath

from jaxpriv import files
from jaxpriv.attacks.reidentification import IDENTITY, RANK
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding
from jaxpriv.privacy import leakage


class Code(NamedTuple):
  """One setting of config.model.code, as it is written."""

  text: str
  pooled: bool
  numbers: int  # at each place
  noise: float

  @classmethod
  def parse(cls, text: str) -> "Code":
    size, noise = text.split("@")
    *places, numbers = map(int, size.split("x"))
    return cls(text, not places, numbers, float(noise))


def write(workdir: epath.Path, findings: dict[str, list[Finding]]) -> None:
  rows = {
    code: [finding.to_dict(row) for row in some]
    for code, some in findings.items()
  }
  files.atomic_write(workdir / "frontier.json", json.dumps(rows, indent=1))
  files.atomic_write(workdir / "frontier.md", table(findings))
  files.atomic_write(workdir / "frontier.svg", chart(findings))


def strongest(findings: list[Finding], attack: str) -> Finding:
  """The attacker of a kind whose interval reaches highest over its floor."""
  return max(
    (
      row
      for row in findings
      if row.claim == IDENTITY
      and row.metric == RANK
      and row.wanted == finding.HIDDEN
      and attack in row.by
    ),
    key=lambda row: row.high / row.floor,
  )


def kinds(rows: list[Finding]) -> dict[str, Finding]:
  """The strongest attacker of each kind."""
  plain = [row for row in rows if "embedding map" not in row.by]
  return {
    "naive": strongest(plain, "naive"),
    "reverse": strongest(plain, "reverse"),
    "parrot": strongest(plain, "parrot"),
    "map": strongest(rows, "embedding map"),
  }


def male(rows: list[Finding]) -> tuple[float, float]:
  """Accuracy of the best fresh predictor, and of the best on originals."""
  found = [row for row in rows if row.claim == "attribute Male"]
  before = [row.ceiling.value for row in found if row.ceiling]
  return max(row.value for row in found), max(before)


def proven(code: Code) -> float | None:
  """The bound on every attacker; None without noise.

  That of a code with places is far beyond anything that is measured.
  """
  if not (code.noise and code.pooled):
    return None
  return leakage.gain(code.noise, code.numbers)


def table(findings: dict[str, list[Finding]]) -> str:
  """The strongest attacker of each kind in multiples of chance, and Male."""
  lines = [
    "| code | proven | naive | reverse | parrot | map | Male | loss |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for text, rows in findings.items():
    bound = proven(Code.parse(text))
    after, before = male(rows)
    cells = [
      text,
      f"{bound:.2f}" if bound else "",
      *(_times(row) for row in kinds(rows).values()),
      f"{100 * after:.1f}%",
      f"{100 * (before - after):.1f}",
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


LEFT, TOP, WIDE, HIGH = 60, 30, 560, 330  # of the chart, in pixels
LOW, HIGHEST = 0.5, 64.0  # multiples of chance that it shows


def chart(findings: dict[str, list[Finding]]) -> str:
  """The frontier as SVG: the strongest attacker over what is read of Male."""
  points = []
  for name, rows in findings.items():
    worst = max(
      kinds(rows).values(), key=lambda row: row.value / (row.floor or 1)
    )
    assert worst.floor is not None
    times = [x / worst.floor for x in (worst.value, worst.low, worst.high)]
    points.append((name, male(rows)[0], times, proven(Code.parse(name))))
  first = min(point[1] for point in points) - 0.01
  last = max(point[1] for point in points) + 0.01
  across = lambda share: LEFT + WIDE * (share - first) / (last - first)
  span = math.log(HIGHEST / LOW)
  down = lambda x: (
    TOP + HIGH * (1 - math.log(min(max(x, LOW), HIGHEST) / LOW) / span)
  )
  parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 40}'
    f' {TOP + HIGH + 60}" font-family="sans-serif" font-size="13">',
    '<rect width="100%" height="100%" fill="#fff"/>',
    text(LEFT, 18, "strongest attacker, multiples of chance", "start"),
    text(
      LEFT + WIDE / 2, TOP + HIGH + 45,
      "Male read in the release by a fresh predictor",
    ),
  ]  # fmt: skip
  for times in (0.5, 1, 2, 4, 8, 16, 32, 64):
    style = 'stroke="#333"' if times == 1 else 'stroke="#ddd"'
    parts += [
      line(LEFT, down(times), LEFT + WIDE, down(times), style),
      text(LEFT - 8, down(times) + 4, f"{times:g}", "end"),
    ]
  parts.append(
    line(
      LEFT, down(3), LEFT + WIDE, down(3),
      'stroke="#b00" stroke-dasharray="4 4"',
    )
  )  # fmt: skip
  for percent in range(math.ceil(100 * first), math.floor(100 * last) + 1, 2):
    x = across(percent / 100)
    parts.append(text(x, TOP + HIGH + 20, f"{percent}%"))
  for name, share, (value, low, high), bound in points:
    x = across(share)
    parts += [
      line(x, down(low), x, down(high), 'stroke="#06c" stroke-width="2"'),
      f'<circle cx="{x:.1f}" cy="{down(value):.1f}" r="5" fill="#06c"/>',
      text(x + 9, down(value) + 4, name, "start"),
    ]
    if bound:
      parts.append(
        line(
          x - 9, down(bound), x + 9, down(bound),
          'stroke="#080" stroke-width="3"',
        )
      )  # fmt: skip
  return "\n".join([*parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
  return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def line(x0: float, y0: float, x1: float, y1: float, style: str) -> str:
  return (
    f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" {style}/>'
  )


def _times(row: Finding) -> str:
  assert row.floor is not None
  value, low, high = (x / row.floor for x in (row.value, row.low, row.high))
  return f"{value:.1f} ({low:.1f} to {high:.1f})"
