"""A released model: its parameters, how to build it, and its audits."""

import hashlib
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data.records import DataError
from jaxpriv.release import card
from jaxpriv.release.product import Facts, Job, Product, Sections
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import export, mechanism
from jaxpriv.training import workdir as workdir_lib

FILES = ("parameters.npz", "config.json")
# Columns of an audit that are published. Others stay behind: a black-box audit
# counts training data without noise.
AUDIT = ("audit", "phase", "epsilon", "claimed", "ratio", "examples")
# Outputs that a model is used for: fields of a batch they take, and the result.
FUNCTIONS = {
  "image": (
    ("image",),
    "protected images [B, H, W, 3] in [0, 1]",
  ),
  "keep": (
    ("image",),
    "bool [B, H, W], where a protected image shows the photograph as it is",
  ),
  "embed": (
    ("image",),
    "float32 [B, D], alike for images of one person; where images are masked,"
    " their `keep` belongs to the batch",
  ),
  "attributes": (
    ("image",),
    "int8 [B, A], the attributes of `config.data.attributes`",
  ),
  "detect": (
    ("image",),
    "boxes [B, K, 4] and scores [B, K], best first; where several are of one"
    " face, `jaxpriv.metrics.detection.suppress` leaves one",
  ),
  "read": (
    ("image", "box"),
    "of the face in `box`, [B, 4] in pixels: landmarks in pixels, visibility,"
    " pose in radians and `male`, a probability; what was not learned is left"
    " out",
  ),
}


def check(job: Job) -> None:
  """Refuses a model that nobody measured, or whose audit found a fault.

  Raises:
    DataError: it may not be released.
  """
  results = job.results
  if (
    results is None
    or not results.findings
    or mechanism.MODEL not in results.header["products"]
  ):
    raise DataError(
      f"{job.workdir} was never evaluated on its own test people, or had"
      " nothing to be scored by, and a card without the guarantee and the"
      " scores says nothing: run launch.evaluate"
      f" --workdir={job.workdir} first"
    )
  audits(job)


def audits(job: Job) -> list[dict[str, Any]]:
  """Rows of launch.audit on the plan of this run, as they may be published.

  Raises:
    DataError: it found a fault.
  """
  path = job.workdir / "audit" / "audit.json"
  again = "remove it and run launch.audit again"
  rows = files.read_json(path, list, again=again) if path.exists() else []
  sigma = job.config.dp.noise_multiplier
  own = [row for row in rows if row.get("noise_multiplier") == sigma]
  faults = [fault for row in own for fault in row["faults"]]
  if faults:
    raise DataError(
      f"the audit of {job.workdir} found that its claim does not hold:"
      f" {'; '.join(faults)}. Mend that, train anew, and run launch.audit again"
    )
  if len(own) < len(rows):
    logging.warning("%s: audits of another plan are left out", path)
  return [{key: row[key] for key in AUDIT if key in row} for row in own]


def write(job: Job) -> Facts:
  """Writes the parameters of the last phase, and of those that it needs."""
  trained, directory = job.target.trained, job.directory
  states = {
    name: trained.states[name]
    for name in (*trained.last.needs, trained.last.name)
  }
  arrays = export.write(directory / "parameters.npz", states)
  workdir_lib.save_config(
    directory, ConfigDict(card.released_config(job.config))
  )
  private = bool(job.results and job.results.header.get("privacy"))
  if not private:
    logging.warning("this model is NOT private, and its card says so")
  outputs = trained.last.method.outputs.given()
  return {
    "parameters": sum(array.size for array in arrays.values()),
    "functions": sorted(set(outputs) & set(FUNCTIONS)),
    "private": private,
    "audits": audits(job),
    "sha256": {
      name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
      for name in FILES
    },
  }


def sections(facts: Facts) -> Sections:
  """Says what the model is, how it was audited, and how to use it."""
  size = (
    f"The model has {wording.count(facts['parameters'])} parameters, in"
    f" {md.code(FILES[0])}; {md.code(FILES[1])} says how it is built."
  )
  hashes = [
    f"- SHA-256 of {md.code(name)}: {md.code(digest)}"
    for name, digest in facts["sha256"].items()
  ]
  return [
    ("", size),
    ("Audits", _audits(facts)),
    ("How to use the model", "\n\n".join([_use(facts), "\n".join(hashes)])),
  ]


def _audits(facts: Facts) -> str:
  if facts["audits"]:
    return md.bullets([_audit(row) for row in facts["audits"]])
  if not facts["private"]:
    return "No audit was run."
  return (
    "No audit was run. The guarantee rests on the code being right;"
    f" {md.code('launch.audit')} attacks it."
  )


def _audit(row: dict[str, Any]) -> str:
  name = f"Audit ({row['audit']}, {row['phase']}):"
  if "ratio" in row:
    return (
      f"{name} gradient ascent on pixels found no example, of"
      f" {wording.count(row['examples'])}, that adds more than"
      f" {wording.at_most(row['ratio'], 7)} times the norm that was measured of"
      " it, or the clip norm."
    )
  claimed = (
    f" {wording.real(row['claimed'])} claimed for what it attacked."
    if row["claimed"] is not None
    else " ∞ of training without privacy."
  )
  return (
    f"{name} epsilon at least {wording.real(row['epsilon'])}, of the{claimed}"
  )


def _use(facts: Facts) -> str:
  functions = facts["functions"]
  if not functions:
    return "By the functions of its method in jaxpriv."
  last = functions[-1]
  inputs = {"image": '"image": images', "box": '"box": boxes'}
  batch = ", ".join(inputs[name] for name in FUNCTIONS[last][0])
  code = f"""```python
from jaxpriv.training import export, mechanism, workdir

config = workdir.load_config("FOLDER")
phases = tuple(mechanism.phases(config))
states = export.read("FOLDER/parameters.npz")
trained = mechanism.Trained(phases, states)
function, state, frozen = trained.bound("{last}")
output = function(state, frozen, {{{batch}}})
```"""
  lines = [
    "`image` is float32 [B, S, S, 3] in [0, 1], S being"
    " `config.data.image_size`.",
    *(f"- `{name}`: {_describe(name)}" for name in functions),
  ]
  return "\n\n".join([code, "\n".join(lines)])


def _describe(name: str) -> str:
  takes, gives = FUNCTIONS[name]
  return f"{' and '.join(f'`{field}`' for field in takes)}: {gives}"


MODEL = Product(
  name=mechanism.MODEL,
  noun="a model",
  files=("parameters.npz", "config."),
  write=write,
  sections=sections,
  check=check,
)
