"""Whether a source of faces draws five points where they are asked for.

  python -m tools.asked_points --base=runs/source --workdir=runs/points

takes a finished run of face_source that was told of points. The reader of
points is that of the attack `domains`, trained on photographs of the attackers'
people. It reads test photographs, and faces drawn under their conditions, with
their points and with none; distances are means of five points, in shares of the
image's side. Then mouths are asked for that are narrower and wider than usual:
the width that is read is over the distance of the eyes. Writes points.json.
"""

import json

from absl import flags
from etils import epath

from configs import common as configs_common
from jaxpriv import files
from jaxpriv.attacks import domains, gathering
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import synthetic_game as game
from jaxpriv.training import workdir as workdir_lib
from launch import common
from tools import asked_points_figures as figures
from tools import finished_run

_BASE = flags.DEFINE_string("base", None, "A finished run of face_source.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept.")
_FACES = flags.DEFINE_integer("faces", 400, "Conditions at most.", 2)
_STEPS = flags.DEFINE_integer("steps", 600, "In which the reader learns.", 1)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh, workdir = mesh_lib.make_mesh(), epath.Path(_WORKDIR.value)
  base = files.expanded(_BASE.value)
  config = workdir_lib.load_config(base)
  figures.check(config, str(base))
  with config.unlocked():
    config.evaluation.phases.domains = configs_common.phase(
      _STEPS.value, 64, learning_rate=1e-2, warmup_steps=50, augment=False
    )
  trained, data, people = finished_run.opened(config, base, workdir, mesh)
  known = gathering.of_attackers(people.options, data)
  read = domains.reader(people, known)
  test = people.test.take(slice(0, _FACES.value))
  found = figures.measured(config, trained.states[game.SOURCE], test, read)
  workdir.mkdir(parents=True, exist_ok=True)
  files.atomic_write(workdir / "points.json", json.dumps(found, indent=2))
  for name, value in found.items():
    print(f"{name}: {value}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["base", "workdir"])
  common.run(main)
