r"""Draws faces of nobody, and chooses as many of each gender and skin.

  python -m launch.curate --workdir=runs/source --output=faces --count=1000
  python -m launch.curate --arrays=generator.safetensors --output=faces

Candidates are drawn by a run, such as one of face_source, or by a StyleGAN2
generator of others in a file of arrays. The output is a folder of PNG files
with a labels.csv; selection.json says how they were chosen, and selection.png
shows some of each class.
"""

from absl import flags, logging

from jaxpriv.data import skin
from jaxpriv.errors import SettingError
from jaxpriv.release import curated
from jaxpriv.training import mesh as mesh_lib
from launch import common

_WORKDIR = common.path_flag("workdir", None, "A run that draws faces.")
_ARRAYS = common.path_flag(
  "arrays", None, "A StyleGAN2 generator, in a file of safetensors."
)
_OUTPUT = common.path_flag("output", None, "Folder to make.")
_COUNT = flags.DEFINE_integer("count", 1000, "How many faces.", 1)
_MOST = flags.DEFINE_integer(
  "most", 0, "Candidates that are looked at, at most; 0: 20 for each face.", 0
)
_BY = flags.DEFINE_list(
  "by", [curated.GENDER, curated.SKIN], "What there are as many of each of."
)
_SKIN = flags.DEFINE_list(
    "skin", [f"{edge:g}" for edge in skin.EDGES], "Edges of the individual"
    " typology angle in degrees, falling, between which there is a class each.",
)  # fmt: skip
_SEED = flags.DEFINE_integer("seed", 0, "With --arrays: of all faces.", 0)
_TRUNCATION = flags.DEFINE_float(
    "truncation", 0.7, "With --arrays: 1 draws faces as various as those that"
    " the generator learned from, less draws likelier ones.", 0, 1
)  # fmt: skip


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  if bool(_WORKDIR.value) == bool(_ARRAYS.value):
    raise SettingError("give either --workdir or --arrays")
  try:
    edges = [float(edge) for edge in _SKIN.value if edge.strip()]
  except ValueError as error:
    raise SettingError(f"--skin: {error}") from error
  kinds = curated.Kinds(_BY.value, edges)
  candidates = (
    curated.of_run(_WORKDIR.value, mesh_lib.make_mesh())
    if _WORKDIR.value
    else curated.of_arrays(_ARRAYS.value, _SEED.value, _TRUNCATION.value)
  )
  most = _MOST.value or 20 * _COUNT.value
  content = curated.write(candidates, _OUTPUT.value, kinds, _COUNT.value, most)
  for kind, number in content["chosen"].items():
    print(
      f"{kind}: {number} of {content['candidates of each class'][kind]}"
      " candidates",
      flush=True,
    )
  logging.info(
    "%d faces of %d candidates in %s",
    len(content["faces"]),
    content["candidates"],
    _OUTPUT.value,
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["output"])
  common.run(main)
