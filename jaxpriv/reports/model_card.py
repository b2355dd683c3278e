"""CARD.md of a released model: the guarantee, the scores, how to use it.

Of the card, besides what `jaxpriv.reports.card` lists:

| key | value |
|---|---|
| model | dict: phase, parameters (how many), functions (names) |
| audits | rows of audit/audit.json: audit, phase, epsilon, claimed |
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxpriv.reports import markdown as md
from jaxpriv.reports import summary, tasks, wording

# What predict functions of a model need, and give.
FUNCTIONS = {
  "detect": (
    "`image` float32 [B, S, S, 3] in [0, 1], S being"
    " `config.data.image_size`: boxes [B, K, 4] and scores [B, K], best first,"
    " overlapping; `jaxpriv.metrics.detection.suppress` leaves one a face"
  ),
  "read": (
    "`image` as above and `box` [B, 4] in pixels: the landmarks, visibility,"
    " pose and gender of the face in it"
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
    *_audits(card.get("audits", [])),
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
    "Phase", "Sampling", "Noise multiplier", "Steps", "Clip norm"
  )
  for phase in results["privacy"]["phases"]:
    lines.append(
      md.row(
        [
          md.text(phase["phase"]),
          wording.real(phase["sampling_probability"]),
          wording.real(phase["noise_multiplier"], 4),
          wording.count(phase["steps"]),
          wording.real(phase["clip_norm"]),
        ]
      )
    )
  yield "\n".join(lines)


def _audits(audits) -> Iterator[str]:
  if not audits:
    yield (
      "No audit was run: the guarantee rests on the code being right."
      " `launch.audit` attacks it."
    )
    return
  yield md.bullets(
    [
      f"Audit ({row['audit']}, {row['phase']}): epsilon at least"
      f" {wording.real(row['epsilon'])}, of the"
      + (
        f" {wording.real(row['claimed'])} claimed for what it attacked."
        if row["claimed"] is not None
        else " ∞ of training without privacy."
      )
      for row in audits
    ]
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


def _use(model) -> str:
  functions = [f"- `{f}`: {FUNCTIONS[f]}" for f in model["functions"]]
  code = f"""```python
from jaxpriv.training import export, workdir
from launch import common

config = workdir.load_config("FOLDER")
phase = common.phases_of(config)[-1]
states = export.read("FOLDER/parameters.npz")
frozen = {{name: states[name] for name in phase.needs}}
found = phase.method.predict["{(model["functions"] or ["NAME"])[-1]}"](
  states[phase.name], frozen, {{"image": images, "box": boxes}}
)
```"""
  return "\n\n".join([code, "\n".join(functions)]).strip()


def _made(card) -> str:
  lines = [f"- mechanism: {md.code(card.get('mechanism', ''))}"]
  for key in ("parameters_sha256", "config_sha256"):
    if card.get(key):
      lines.append(f"- {key.replace('_', ' ')}: {md.code(card[key])}")
  lines.append("- the whole configuration: `config.json`")
  return "\n".join(lines)
