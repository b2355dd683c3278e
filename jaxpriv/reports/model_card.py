"""CARD.md of a released model: the guarantee, the scores, how to use it.

Of the card, besides what `jaxpriv.reports.card` lists:

| key | value |
|---|---|
| model | dict: parameters (how many), functions (names of FUNCTIONS), |
| | sha256 (file -> hash) |
| audits | rows of audit/audit.json: audit, phase, and either epsilon and |
| | claimed, or ratio and examples |
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxpriv.reports import markdown as md
from jaxpriv.reports import summary, tasks, wording

# What predict functions of a model need, and give.
FUNCTIONS = {
  "detect": (
    "`image`: boxes [B, K, 4] and scores [B, K], best first,"
    " overlapping; `jaxpriv.metrics.detection.suppress` leaves one a face"
  ),
  "read": (
    "`image`, as `detect`, and `box` [B, 4] in pixels: of the face in it"
    " landmarks in pixels, visibility, pose in radians and `male`, a"
    " probability; what was not learned is left out"
  ),
}


def markdown(card: Mapping[str, Any]) -> str:
  """Returns CARD.md."""
  results = card.get("results", {})
  name = wording.name(card.get("mechanism", ""), results.get("names", {}))
  parts = [
    f"# Released model: {md.text(name)}",
    md.text(_origin(card)),
    f"**{md.text(summary.headline(results))}.**",
    *_guarantee(results),
    _audits(card.get("audits", []), results),
    "## What it can do",
    _scores(results),
    "## What is not protected",
    md.bullets(card["not_protected"]),
    "## Terms",
    md.text(card["terms"]),
    "## How to use it",
    _use(card["model"]),
    "## How it was made",
    _made(card),
  ]
  return "\n\n".join(parts) + "\n"


def _origin(card) -> str:
  when = wording.date(card.get("created"))
  by = f"jaxpriv {card.get('version', '')}".strip()
  return (
    f"Made by {by}{f' on {when}' if when else ''}:"
    f" {wording.count(card['model']['parameters'])} parameters."
  )


def _guarantee(results) -> Iterator[str]:
  finding = summary.training(results)
  if not finding:
    return
  yield md.text(finding.sentence)
  if not results.get("privacy"):
    return
  lines = md.header(
    *("Phase", "Sampling", "Noise multiplier", "Steps", "Clip norm"),
    "Images of a unit in a batch",
  )
  for phase in results["privacy"]["phases"]:
    lines.append(
      md.row(
        [
          md.text(phase["phase"]),
          wording.real(phase["sampling_probability"]),
          wording.real(phase["noise_multiplier"], 4),
          wording.count(phase["steps"]),
          _norms(phase),
          wording.count(phase["rows_per_unit"]),
        ]
      )
    )
  yield "\n".join(lines)


def _audits(audits, results) -> str:
  if not audits:
    return "No audit was run." + (
      " The guarantee rests on the code being right; `launch.audit` attacks it."
      if results.get("privacy")
      else ""
    )
  return md.bullets([_audit(row) for row in audits])


def _audit(row) -> str:
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


def _scores(results) -> str:
  lines = md.header(
    "Score", "Value", "95% interval", "Best constant answer", "Faces"
  )
  for row in tasks.rows(results):
    lines.append(
      md.row(
        [
          md.text(row["title"]),
          row["figure"],
          row["interval"],
          row["constant"],
          wording.count(row["total"]),
        ]
      )
    )
  return "\n".join(lines) + "\n\nOn people the model has not seen."


def _norms(phase) -> str:
  """The clip norms of a phase, groups with theirs."""
  groups = phase["group_clip_norms"].items()
  named = [f"{md.code(k)} {wording.real(v)}" for k, v in groups]
  return "; ".join([wording.real(phase["clip_norm"]), *named])


def _use(model) -> str:
  functions = [
    "`image` is float32 [B, S, S, 3] in [0, 1], S being"
    " `config.data.image_size`.",
    *(f"- `{f}`: {FUNCTIONS[f]}" for f in model["functions"]),
  ]
  if not model["functions"]:
    return "By the functions of its method in jaxpriv."
  code = f"""```python
from jaxpriv.training import export, workdir
from launch import common

config = workdir.load_config("FOLDER")
phase = common.phases_of(config)[-1]
states = export.read("FOLDER/parameters.npz")
frozen = {{name: states[name] for name in phase.needs}}
found = phase.method.outputs.{model["functions"][-1]}(
  states[phase.name], frozen, {{"image": images, "box": boxes}}
)
```"""
  return "\n\n".join([code, "\n".join(functions)]).strip()


def _made(card) -> str:
  lines = [f"- mechanism: {md.code(card.get('mechanism', ''))}"]
  for name, digest in card["model"].get("sha256", {}).items():
    lines.append(f"- SHA-256 of {md.code(name)}: {md.code(digest)}")
  return "\n".join(lines)
