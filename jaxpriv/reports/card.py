"""The card of a release: card.json for programs, CARD.md for people.

| key | value |
|---|---|
| mechanism, created, version | strings |
| products | name -> facts, a dict: what is released |
| config | nested dict; its hash is added as config_sha256 |
| parameters_sha256 | string |
| counts | dict: read, written, unreadable; of faces |
| files | dict: seen, used, left_out: reason -> how many |
| copies | how many photographs show the same picture as another one |
| unlabelled | attributes of the run that the input has no labels of |
| unreadable | one line for each image that could not be read |
| framing | dict: how many faces were framed by each of FRAMED |
| found | dict: faces that a detector found, threshold of its scores; or empty |
| results | `jaxpriv.reports.results.Results`, or None: nothing was measured |
| proven | sentences on what holds for every attacker |
| not_protected | sentences to add to what is always said |
| terms | licence or conditions of use |

Any key may be missing. What is passed is published: give no original file name,
path or identity.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from jaxpriv import files
from jaxpriv.reports import cells, summary, tables, wording
from jaxpriv.reports import markdown as md
from jaxpriv.reports import results as results_lib
from jaxpriv.reports.results import Results

NO_TERMS = (
  "None were given. Ask whoever made this release before you pass it on."
)
NO_FIGURES = (
  "**No attack was run on this mechanism: nothing here shows that it protects"
  " anyone.** Run an evaluation and release again."
)
TITLES = {
  "image": "protected images",
  "features": "released features",
  "model": "released model",
}
# How config.data.align is written for people.
FRAMED = {
  "landmarks": "by their landmarks",
  "head": "by their landmarks, with all of the head",
  "box": "by a box",
  "centre": "by the central square of the image",
  "whole": "by the whole image",
}
Sections = Sequence[tuple[str, str]]


def write(
  directory: str | os.PathLike, card: Mapping[str, Any], sections: Sections = ()
) -> epath.Path:
  """Writes card.json and CARD.md into `directory`; returns the latter's path.

  Args:
    directory: of the release.
    card: see the module.
    sections: (title, Markdown) that the products provide. Those without title
      stand at the beginning and say what is released, the others at the end.

  Raises:
    ResultsError: a finding is incomplete or contradicts itself.
  """
  results = card.get("results")
  complete = results_lib.plain({**card, "results": None})
  if results is not None:
    complete["results"] = results_lib.encode(results)
    # A published card holds the config once, beside the results.
    header = {"config": complete.get("config", {}), **results.header}
    results = results._replace(header=header)
  complete["config_sha256"] = config_hash(complete.get("config", {}))
  complete["not_protected"] = limits(complete, results)
  complete["terms"] = complete.get("terms") or NO_TERMS
  text = json.dumps(complete, indent=2, allow_nan=False) + "\n"
  files.atomic_write(epath.Path(directory) / "card.json", text)
  text = markdown(complete, results, sections)
  return files.atomic_write(epath.Path(directory) / "CARD.md", text)


def config_hash(config: Mapping[str, Any]) -> str:
  """Returns the SHA-256 of the config as JSON with sorted keys."""
  text = json.dumps(results_lib.plain(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def limits(card: Mapping[str, Any], results: Results | None) -> list[str]:
  """Returns what is not protected: what was given, then what always holds."""
  given = [*card.get("not_protected", []), *_framed_otherwise(card)]
  products = list(card.get("products", {}))
  return summary.limits(products, results, given)


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


def markdown(
  card: Mapping[str, Any], results: Results | None, sections: Sections = ()
) -> str:
  """Returns CARD.md; `card` is complete, as card.json has it."""
  names = card.get("products", {})
  products = [TITLES.get(n, wording.name(n).lower()) for n in names]
  title = " and ".join(products) or "release"
  name = wording.name(card.get("mechanism", ""))
  measured = list(_measured(results)) if results else []
  proven = [f"{line}." for line in card.get("proven", [])]
  parts = [
    f"# {md.text(title[:1].upper() + title[1:])}: {md.text(name)}",
    _origin(card),
    *(text for title, text in sections if not title),
    "## What was measured",
    *(measured or [NO_FIGURES]),
    *(["## What is proven", md.bullets(proven)] if proven else []),
    "## What is not protected",
    md.bullets(card["not_protected"]),
    *_missing(card),
    "## Terms",
    md.text(card["terms"]),
  ]
  for title, text in sections:
    parts += [f"## {md.text(title)}", text] if title else []
  parts += [
    "## How it was made",
    "\n".join(f"- {line}" for line in _made(card)),
  ]
  return "\n\n".join(parts) + "\n"


def _origin(card: Mapping[str, Any]) -> str:
  by = f"jaxpriv {card.get('version', '')}".strip()
  when, counts = wording.date(card.get("created")), card.get("counts", {})
  text = f"Made by {by}{f' on {when}' if when else ''}."
  if "written" in counts:
    text += f" {wording.count(counts['written'])} were written"
    text += (
      f" of {wording.count(counts['read'])} read." if "read" in counts else "."
    )
  return md.text(text)


def _measured(results: Results) -> Iterator[str]:
  """Sentences on the mechanism itself, if there are any."""
  cards = summary.cards(results)
  if not cards:
    return
  yield f"**{md.text(summary.headline(results).text)}.**"
  for card in cards:
    word = f", {md.text(card.word)}" if card.word else ""
    figure = f"{md.text(card.title)}: **{md.text(card.figure)}**{word}."
    yield f"{figure} {md.text(card.sentence)}"
  figures = tables.views(results, [results.mechanism])
  if figures:
    yield md.text(tables.BASIS)
  if privacy := results.header.get("privacy"):
    figures.append(tables.phases(privacy))
  for table in figures:
    yield f"### {md.text(table.title)}"
    if table.caption:
      yield md.text(table.caption)
    yield _table(table)


def _table(table: cells.Table) -> str:
  """A table without its bars; groups become a column, if there are several."""
  shown = [i for i, column in enumerate(table.columns) if not column.bars]
  grouped = len({row.group for row in table.rows}) > 1
  titles = [f"{c.title} {c.sub}" for c in table.columns if not c.bars]
  lines = md.header(*["Mechanism"] * grouped, *map(md.text, titles))
  for row in table.rows:
    group = [md.text(row.group)] * grouped
    lines.append(md.row([*group, *(_cell(row.cells[i]) for i in shown)]))
  return "\n".join(lines)


def _cell(cell: cells.Cell) -> str:
  text = f"{cell.text} {cell.mark}".strip()
  return md.text(f"{text} ({cell.sub})" if cell.sub and text else text)


def _missing(card: Mapping[str, Any]) -> list[str]:
  """A section, where images were read at all."""
  if not card.get("counts"):
    return []
  listed = card.get("files", {})
  left_out = listed.get("left_out", {})
  unreadable = card.get("unreadable", [])
  number = len(unreadable) or card["counts"].get("unreadable", 0)
  noun = "image" if number == 1 else "images"
  text = f"{wording.count(number)} {noun} could not be read"
  if not number:
    text = "Every image could be read."
    if not left_out:
      text = "Nothing: every image could be read."
  elif unreadable:  # they may be counted and not named
    text += f":\n\n{md.bullets(unreadable)}"
  else:
    text += "."
  if left_out:
    kinds = [f"{wording.count(n)}: {why}" for why, n in left_out.items()]
    text += (
      f"\n\nOf {wording.count(listed['seen'])} files of the input"
      f" {wording.count(listed['used'])} are used. The others, by the reason:"
      f"\n\n{md.bullets(kinds)}"
    )
  if copies := card.get("copies"):
    text += (
      f"\n\n{wording.count(copies)} photographs show the same picture as"
      " another one of the input. They are all protected, so that who compares"
      " what is released may find some of them alike."
    )
  if unlabelled := card.get("unlabelled"):
    text += (
      f"\n\nNo labels of {md.text(', '.join(unlabelled))} are released: the"
      " input has none."
    )
  return ["## What is missing", text]


def _made(card: Mapping[str, Any]) -> Iterator[str]:
  yield f"mechanism: {md.code(card.get('mechanism', ''))}"
  for key in ("parameters_sha256", "config_sha256"):
    if card.get(key):
      yield f"{key.replace('_', ' ')}: {md.code(card[key])}"
  if card.get("framing"):
    yield f"faces framed: {framed(card['framing'])}"
  if found := card.get("found"):
    yield (
      f"faces found by a detector: {wording.count(found['faces'])}, of scores"
      f" above {found['threshold']:g}"
    )
  yield "the whole configuration: `card.json`"
