"""HiFD of a run's releases, by networks that no one here trained.

  pip install hifd==0.1.0
  python -m tools.measure_hifd --workdir=runs/demo

HiFD (package hifd) is a weighted harmonic mean of privacy P, quality Q and
three levels of utility. P is half of one minus the cosine between a photograph
and its own release, read by faceres and dlib; U1 is the mean agreement of age,
gender, expression and landmarks before and after. Quality needs LPIPS, and
levels 2 and 3 gaze and pulse, for which there are no weights: they are left
out, as HiFD provides for. It compares a photograph with its own release only:
no attacker who compares releases with each other, or who learns, is part of it.
"""

import numpy as np
from absl import flags
from etils import epath

from jaxpriv import files
from jaxpriv.attacks import gathering
from jaxpriv.attacks.threat import People
from jaxpriv.data.records import DataError
from jaxpriv.training import mechanism, run, witnesses
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target, Trained
from launch import common

_WORKDIR = flags.DEFINE_string("workdir", None, "Run of launch.train.")
_DATA_OF = flags.DEFINE_string(
  "data_of", "", "Another run, whose photographs are used instead."
)
EYES = slice(36, 42), slice(42, 48)  # of 68 landmarks


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  try:
    import hifd  # noqa: F401
  except ImportError as error:
    raise DataError("tools.measure_hifd needs: pip install hifd") from error
  mesh_lib.initialize()
  targets, people = gather(_WORKDIR.value, files.expanded(_DATA_OF.value))
  before = reading(people.test.arrays["image"])
  print("| releases of | P | U1 | privacy first | balanced |")
  print("|---|---|---|---|---|")
  for target in targets:
    image = people.image(target, people.test).arrays["image"]
    privacy, utility, composites = scores(before, reading(image))
    figures = (privacy, utility, *composites)
    print(f"| {target.name} | {' | '.join(f'{x:.3f}' for x in figures)} |")


def gather(workdir: str, data_of: str) -> tuple[list[Target], People]:
  """The mechanism and its controls, and the test photographs."""
  config = workdir_lib.load_config(workdir)
  mesh = mesh_lib.make_mesh()
  phases = mechanism.phases(config)
  states = run.load_phases(phases, config, workdir, mesh)
  trained = Trained(tuple(phases), states)
  if data_of:
    target = mechanism.targets(config, trained)[0]
    gathering.use_data_of(data_of, config, target)
  data = run.open_data(config)
  people = gathering.gather(
    config, epath.Path(workdir), mesh, data, trained, (mechanism.MODEL,), ()
  )
  targets = mechanism.targets(config, trained)
  return mechanism.fitting(targets, people.test.arrays), people


def reading(images: np.ndarray) -> dict[str, np.ndarray]:
  """All that is asked of framed images uint8 [N, S, S, 3]."""
  said = {
    name: witnesses.read(witnesses.load(name), images, aligned=True)
    for name in ("faceres", "dlib", "age_gender", "expressions", "landmarks")
  }
  male = said["faceres"]["male"]
  return {
    "faceres": said["faceres"]["embedding"],
    "dlib": said["dlib"]["embedding"],
    "age": said["faceres"]["age"],
    "gender": np.stack([male, 1 - male], axis=1),
    "expression": said["expressions"]["expressions"],
    "landmarks": said["landmarks"]["landmarks"],
  }


def scores(
  before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> tuple[float, float, list[float]]:
  """P, U1 and the composites "privacy first" and "balanced" of HiFD."""
  import hifd

  privacy = np.mean(
    [
      hifd.batch_privacy_score(before[name], after[name])
      for name in ("faceres", "dlib")
    ],
    axis=0,
  )
  eyes = [before["landmarks"][:, side].mean(1) for side in EYES]
  landmarks = [
    hifd.score_landmark(*faces)
    for faces in zip(
      before["landmarks"], after["landmarks"], *eyes, strict=True
    )
  ]
  utility = np.mean(
    [
      hifd.batch_score_age(before["age"], after["age"]),
      hifd.batch_score_categorical(before["gender"], after["gender"]),
      hifd.batch_score_categorical(before["expression"], after["expression"]),
      landmarks,
    ],
    axis=0,
  )
  means = float(privacy.mean()), float(utility.mean())
  found = hifd.compose_profiles(means[0], None, means[1], None, None)
  return *means, [found[name] for name in ("privacy_first", "balanced")]


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  common.run(main)
