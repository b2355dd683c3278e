"""Embedded autoencoders with codes of several sizes, and noise: the frontier.

  python -m tools.code_frontier --base=runs/real --workdir=runs/frontier

takes FSN, PEN and the external autoencoder of a finished run, trains an
internal one for each code, and lets the attackers of config.attacks at all of
them. A code is "places x numbers @ noise": `4x4x4@0` is the paper's at the demo
scale, `3@0.5` is pooled, three numbers with a noise of 0.5. Writes
frontier.json with all findings, and frontier.md. Interrupted, it goes on.
"""

import json
from typing import Any, NamedTuple

from absl import flags
from etils import epath

from jaxpriv import files
from jaxpriv.attacks import evaluation, gathering
from jaxpriv.attacks.reidentification import IDENTITY, RANK
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding
from jaxpriv.privacy import leakage
from jaxpriv.training import mechanism, run
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from launch import common

CODES = ("4x4x4@0", "1@0.5", "1@0", "4@0", "1@0.25", "1@1", "2@0.5", "4x4x4@1")
ATTACKS = ("reidentification", "parrot", "embedding_map", "attributes")

_BASE = flags.DEFINE_string(
  "base", None, "A finished run of embedded_autoencoder."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept.")
_CODES = flags.DEFINE_list("codes", list(CODES), "Codes to train and attack.")
_STEPS = flags.DEFINE_integer("steps", 400, "Of each internal autoencoder.")
_SECRET = flags.DEFINE_integer("secret", 1, "By which noise is drawn.")


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


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh, workdir = mesh_lib.make_mesh(), epath.Path(_WORKDIR.value)
  base = workdir_lib.load_config(_BASE.value)
  with base.unlocked():
    base.evaluation.controls = ()
    base.evaluation.attacks = ATTACKS
  data = run.open_data(base)
  phases = mechanism.phases(base)
  states = run.load_phases(phases, base, _BASE.value, mesh)
  trained = Trained(tuple(phases), states)
  people = gathering.gather(
    base, workdir / "attackers", mesh, data, trained,
    mechanism.products(trained), tuple(base.data.attributes),
  )  # fmt: skip
  findings: dict[str, list[Finding]] = {}
  for code in map(Code.parse, _CODES.value):
    config = _config(base, code)
    place = workdir / code.text
    phases = mechanism.phases(config)
    run.begin(place, phases, config, data, mesh)
    states = run.train_phases(phases, config, data, place, mesh)
    (target,) = mechanism.targets(config, Trained(tuple(phases), states))
    target = target._replace(name=code.text, kept=tuple(config.data.attributes))
    chosen = evaluation.attacks(config)
    findings[code.text], _ = evaluation.evaluate(people, [target], chosen)
    write(workdir, findings)
  print(table(findings))


def _config(base, code: Code):
  config = base.copy_and_resolve_references()
  with config.unlocked():
    config.pretrained = _BASE.value
    for name, options in config.phases.items():
      options.steps = _STEPS.value if name == "internal" else 0
    config.model.code.update(
      code=code.numbers, pooled=code.pooled, noise=code.noise
    )
    config.model.secret = _SECRET.value
  return config


def write(workdir: epath.Path, findings: dict[str, list[Finding]]) -> None:
  rows = {
    code: [finding.to_dict(row) for row in some]
    for code, some in findings.items()
  }
  files.atomic_write(workdir / "frontier.json", json.dumps(rows, indent=1))
  files.atomic_write(workdir / "frontier.md", table(findings))


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


def table(findings: dict[str, list[Finding]]) -> str:
  """The strongest attacker of each kind in multiples of chance, and Male."""
  lines = [
    "| code | proven | naive | reverse | parrot | map | Male | loss |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for text, rows in findings.items():
    code = Code.parse(text)
    bound = ""
    if code.noise and code.pooled:
      bound = f"{leakage.gain(code.noise, code.numbers):.2f}"
    plain = [row for row in rows if "embedding map" not in row.by]
    kinds = {
      "naive": plain, "reverse": plain, "parrot": plain, "embedding map": rows,
    }  # fmt: skip
    cells: list[Any] = [
      _times(strongest(some, kind)) for kind, some in kinds.items()
    ]
    male = [row for row in rows if row.claim == "attribute Male"]
    best = max(male, key=lambda row: row.value)
    assert best.ceiling is not None
    before = max(row.ceiling.value for row in male if row.ceiling)
    cells += [f"{100 * best.value:.1f}%", f"{100 * (before - best.value):.1f}"]
    lines.append(f"| {' | '.join([text, bound, *cells])} |")
  return "\n".join(lines) + "\n"


def _times(row: Finding) -> str:
  assert row.floor is not None
  value, low, high = (x / row.floor for x in (row.value, row.low, row.high))
  return f"{value:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
  flags.mark_flags_as_required(["base", "workdir"])
  common.run(main)
