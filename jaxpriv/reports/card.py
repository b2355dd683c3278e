"""The card of a release: card.json for programs, CARD.md for people.

| key | value |
|---|---|
| mechanism, created, version | strings |
| config | nested dict; its hash is added as config_sha256 |
| parameters_sha256 | string |
| counts | dict: read, written, unreadable |
| unreadable | one line for each image that could not be read |
| framing | dict: how many faces were framed by each of FRAMED |
| results | as in `jaxpriv.reports.results`: what the attacks measured |
| not_protected | sentences to add to what is always said |
| terms | licence or conditions of use |

A released model and released features have others besides: see
`jaxpriv.reports.model_card` and `jaxpriv.reports.feature_card`.

What is passed is published: give no original file name, path or identity.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from jaxpriv import files
from jaxpriv.reports import (
  feature_card,
  features,
  model_card,
  summary,
  tables,
  verdicts,
  wording,
)
from jaxpriv.reports import markdown as md
from jaxpriv.reports import results as results_lib

NO_TERMS = (
  "None were given. Ask whoever made this release before you pass it on."
)
NO_FIGURES = (
  "**No attack was run on this mechanism: nothing here shows that it protects"
  " anyone.** Run an evaluation and release again."
)
# How config.data.align is written for people.
FRAMED = {
  "landmarks": "by their landmarks",
  "box": "by a box",
  "centre": "by the central square of the image",
  "whole": "by the whole image",
}


def write(directory: str | os.PathLike, card: Mapping[str, Any]) -> epath.Path:
  """Writes card.json and CARD.md into `directory`; returns the latter's path.

  Raises:
    ResultsError: a row of the results lacks a column or contradicts itself.
  """
  complete = results_lib.plain(card)
  results_lib.check(complete.get("results", {}))
  complete["config_sha256"] = config_hash(complete.get("config", {}))
  complete["not_protected"] = limits(complete)
  complete["terms"] = complete.get("terms") or NO_TERMS
  text = json.dumps(complete, indent=2, allow_nan=False) + "\n"
  files.atomic_write(epath.Path(directory) / "card.json", text)
  return files.atomic_write(
    epath.Path(directory) / "CARD.md", markdown(complete)
  )


def config_hash(config: Mapping[str, Any]) -> str:
  """Returns the SHA-256 of the config as JSON with sorted keys."""
  text = json.dumps(results_lib.plain(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def limits(card: Mapping[str, Any]) -> list[str]:
  """Returns what is not protected: what was given, then what always holds."""
  results = dict(card.get("results", {}))
  given = card.get("not_protected", []) + results.get("not_claimed", [])
  given += _framed_otherwise(card)
  results["not_claimed"] = list(dict.fromkeys(given))
  released = "features" in card or features.released(results)
  return summary.not_claimed(results, released)


def framed(framing: Mapping[str, int]) -> str:
  """Returns "46 by their landmarks, 1 by a box"."""
  return ", ".join(
    f"{wording.count(framing[key])} {text}"
    for key, text in FRAMED.items()
    if framing.get(key)
  )


def _framed_otherwise(card: Mapping[str, Any]) -> list[str]:
  """Says which faces the attacks may not have met, as they are cut unlike."""
  framing = card.get("framing", {})
  align = card.get("config", {}).get("data", {}).get("align")
  other = {key: count for key, count in framing.items() if key != align}
  if align not in FRAMED or not any(other.values()):
    return []
  return [
    f"Of {wording.count(sum(framing.values()))} faces some were not framed"
    f" {FRAMED[align]}, which the configuration asks for: {framed(other)}. What"
    " was measured may not hold for them."
  ]


def markdown(card: Mapping[str, Any]) -> str:
  """Returns CARD.md."""
  if "model" in card:
    return model_card.markdown(card)
  name = functools.partial(
    wording.name, names=card.get("results", {}).get("names", {})
  )
  released = "features" in card
  title = "Released features" if released else "Protected images"
  parts = [
    f"# {title}: {md.text(name(card.get('mechanism', '')))}",
    feature_card.origin(card) if released else _origin(card),
    "## What was measured",
    *_measured(card, name),
    "## What is not protected",
    md.bullets(card["not_protected"]),
    "## What is missing",
    _missing(card),
    "## Terms",
    md.text(card["terms"]),
    "## How it was made",
    _made(card),
  ]
  return "\n\n".join(parts) + "\n"


def _origin(card: Mapping[str, Any]) -> str:
  by = f"jaxpriv {card.get('version', '')}".strip()
  when = wording.date(card.get("created"))
  counts = card.get("counts", {})
  said = f"Made by {by}{f' on {when}' if when else ''}."
  if "written" in counts:
    said += f" {wording.count(counts['written'])} images were written"
    read = counts.get("read")
    said += f" of {wording.count(read)} read." if read is not None else "."
  return md.text(said)


def _measured(card: Mapping[str, Any], name) -> Iterator[str]:
  results = card.get("results", {})
  released = "features" in card
  sections = features.SECTIONS if released else ("identification",)
  if not any(results.get(section) for section in sections):
    yield NO_FIGURES
  else:
    yield f"**{md.text(summary.headline(results))}.**"
    for finding in summary.findings(results):
      yield (
        f"{md.text(finding.title)}: **{finding.figure}**."
        f" {md.text(finding.sentence)}"
      )
    if released:
      yield from feature_card.measured(results, name)
    else:
      yield _identification(results, name)
  if results.get("attributes"):
    yield _attributes(results, name)
  yield from feature_card.precision(results)


def _identification(results: Mapping[str, Any], name) -> str:
  """Returns the attacks on the mechanism of the run, with their references."""
  lines = md.header(
    *("Attack", "Recogniser", "Gallery", "Correct", "Rank-1", "95% interval"),
    *("Undisguised", "Chance", "Verdict"),
  )
  for group in tables.identification(results):
    for row in (row for block in group["blocks"] for row in block):
      if not row["mine"]:
        continue
      used = " (used in the loss)" if row.get("used_in_loss") else ""
      witness = row["witness"]
      lines.append(
        md.row(
          [
            md.text(row["attack"]),
            md.text(row["recogniser"] + used),
            md.text(row["gallery"]),
            wording.of(row["hits"], row["total"]),
            wording.percent(row["rate"]),
            wording.interval(row["low"], row["high"]),
            wording.percent(witness["rate"]) if witness else wording.NOTHING,
            wording.percent(row["chance"]),
            row["verdict"].word,
          ]
        )
      )
  return "\n".join(lines)


def _attributes(results: Mapping[str, Any], name) -> str:
  lines = md.header(
    *("Attribute", "Predictor", "Read right", "95% interval"),
    "Unprotected features" if features.released(results) else "Original",
    *("Change", "Majority", "Verdict"),
  )
  for row in results["attributes"]:
    if row["mechanism"] != results.get("mechanism"):
      continue
    lines.append(
      md.row(
        [
          md.text(name(row["attribute"])),
          md.text(row["predictor"]),
          wording.percent(row["rate"]),
          wording.interval(row["low"], row["high"]),
          wording.percent(row["original"]),
          wording.points(row["rate"] - row["original"]),
          wording.percent(row["majority"]),
          verdicts.attribute(row).word,
        ]
      )
    )
  return "\n".join(lines)


def _missing(card: Mapping[str, Any]) -> str:
  unreadable = card.get("unreadable", [])
  # Of features they are counted and not named.
  number = len(unreadable) or card.get("counts", {}).get("unreadable", 0)
  if not number:
    return "Nothing: every image could be read."
  noun = "image" if number == 1 else "images"
  said = f"{wording.count(number)} {noun} could not be read"
  if not unreadable:
    return f"{said}."
  return f"{said}:\n\n{md.bullets(unreadable)}"


def _made(card: Mapping[str, Any]) -> str:
  lines = [f"- mechanism: {md.code(card.get('mechanism', ''))}"]
  for key in ("parameters_sha256", "config_sha256"):
    if card.get(key):
      lines.append(f"- {key.replace('_', ' ')}: {md.code(card[key])}")
  if "features" in card:
    digest = card["features"]["featurizer_sha256"]
    lines.append(f"- featurizer sha256: {md.code(digest)}")
  if card.get("framing"):
    lines.append(f"- faces framed: {framed(card['framing'])}")
  lines.append("- the whole configuration: `card.json`")
  return "\n".join(lines)
