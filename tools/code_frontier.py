"""Embedded autoencoders with codes of several sizes, and noise: the frontier.

  python -m tools.code_frontier --base=runs/real --workdir=runs/frontier

takes FSN, PEN and the external autoencoder of a finished run, trains an
internal one for each code, and lets the attackers of config.attacks at all of
them. A code is "places x numbers @ noise": `4x4x4@0` is the paper's at the demo
scale, `3@0.5` is pooled, three numbers with a noise of 0.5. Writes
frontier.json with all findings, frontier.md, and a chart, frontier.svg: the
strongest attacker of each code with its interval (blue), what is proven
(green), and three times chance (red). Interrupted, it goes on.
"""

from absl import flags
from etils import epath

from jaxpriv import files
from jaxpriv.attacks import evaluation
from jaxpriv.metrics.finding import Finding
from jaxpriv.training import mechanism, run
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from launch import common
from tools import finished_run, frontier_chart
from tools.frontier_chart import Code

CODES = ("4x4x4@0", "4@0", "1@0", "1@0.25", "1@0.5", "1@1")
ATTACKS = ("reidentification", "parrot", "embedding_map", "attributes")

_BASE = flags.DEFINE_string(
  "base", None, "A finished run of embedded_autoencoder."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept.")
_CODES = flags.DEFINE_list("codes", list(CODES), "Codes to train and attack.")
_STEPS = flags.DEFINE_integer("steps", 400, "Of each internal autoencoder.")
_SECRET = flags.DEFINE_integer("secret", 1, "By which noise is drawn.")


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh, workdir = mesh_lib.make_mesh(), epath.Path(_WORKDIR.value)
  trained_run = files.expanded(_BASE.value)
  base = workdir_lib.load_config(trained_run)
  with base.unlocked():
    base.evaluation.controls = ()
    base.evaluation.attacks = ATTACKS
  _, data, people = finished_run.opened(base, trained_run, workdir, mesh)
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
    frontier_chart.write(workdir, findings)
  print(frontier_chart.table(findings))


def _config(base, code: Code):
  config = base.copy_and_resolve_references()
  with config.unlocked():
    config.pretrained = files.expanded(_BASE.value)
    for name, options in config.phases.items():
      options.steps = _STEPS.value if name == "internal" else 0
    config.model.code.update(
      code=code.numbers, pooled=code.pooled, noise=code.noise
    )
    config.model.secret = _SECRET.value
  return config


if __name__ == "__main__":
  flags.mark_flags_as_required(["base", "workdir"])
  common.run(main)
