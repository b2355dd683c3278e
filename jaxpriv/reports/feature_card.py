"""What CARD.md says of released features and not of released images.

Of the card, besides what `jaxpriv.reports.card` lists:

| key | value |
|---|---|
| features | dict: count, layer (after which they were taken), shape (of one), |
| | featurizer_sha256, attributes (names of the labels released with them) |
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxpriv.reports import markdown as md
from jaxpriv.reports import tables, wording

Results = Mapping[str, Any]
Name = Callable[[str], str]


def origin(card: Mapping[str, Any]) -> str:
  """Says what is released."""
  made, counts = card["features"], card.get("counts", {})
  by = f"jaxpriv {card.get('version', '')}".strip()
  when = wording.date(card.get("created"))
  shape = " × ".join(wording.count(side) for side in made["shape"])
  labels = ", ".join(made["attributes"])
  said = md.text(
    f"Made by {by}{f' on {when}' if when else ''}:"
    f" {wording.count(made['count'])} feature maps of shape {shape} at layer"
  )
  said += f" {md.code(made['layer'])}, " + md.text(
    f"labels {labels}." if labels else "without labels."
  )
  if counts.get("read") is not None:
    said += f" There were {wording.count(counts['read'])} photographs."
  return said + " No photograph is released."


def measured(results: Results, name: Name) -> Iterator[str]:
  """Yields the tables of the mechanism of the run, and of the bounds."""
  mine = (None, results.get("mechanism"))
  rebuilt = [
    row
    for group in tables.reconstruction(results)
    if group["mechanism"] in mine
    for row in group["rows"]
  ]
  if rebuilt:
    yield _reconstruction(rebuilt)
  curves = [r for r in tables.curves(results) if r["mechanism"] in mine]
  if curves:
    yield _curves(curves)
  leaks = [g for g in tables.leakage(results) if g["mechanism"] in mine]
  for group in leaks:
    yield _leakage(group["rows"], name)


def _reconstruction(rows) -> str:
  lines = md.header(
    *("Attack", "What the attacker has", "Known pairs", "SSIM"),
    *("95% interval", "Aligned SSIM", "L1", "PSNR, dB", "Rank-1"),
    *("95% interval", "Undisguised", "Chance", "Attributes read"),
    *("Balanced accuracy (guessing 50%)", "95% interval"),
    *("Undisguised attributes", "Labels read right", "Verdict"),
  )
  for row in rows:
    read = row["attributes"] or {}
    lines.append(
      md.row(
        [
          md.text(row["attack"]),
          md.text(row["knowledge"]),
          wording.count(row["pairs"]),
          wording.fixed(row["ssim"], 2),
          wording.span(row["ssim_low"], row["ssim_high"]),
          wording.fixed(row["aligned_ssim"], 2),
          wording.fixed(row["l1"], 3),
          wording.fixed(row["psnr"], 1),
          wording.percent(row["rate"]),
          wording.interval(row["low"], row["high"]),
          wording.percent(row["undisguised"]),
          wording.percent(row["chance"]),
          read.get("what", wording.NOTHING),
          wording.percent(read.get("balanced")),
          wording.interval(read.get("low"), read.get("high")),
          wording.percent(read.get("undisguised")),
          wording.of(read.get("hits"), read.get("total")),
          row["verdict"].word,
        ]
      )
    )
  return "\n".join(lines)


def _curves(rows) -> str:
  lines = md.header(
    *("SSIM to reach", "Pairs needed", "Largest tried", "Best SSIM"),
    *("Unprotected features", "Mean image", "Verdict"),
  )
  for row in rows:
    needed = row["pairs_needed"]
    lines.append(
      md.row(
        [
          wording.fixed(row["threshold_ssim"], 2),
          "not reached" if needed is None else wording.count(needed),
          wording.count(row["largest"]),
          wording.fixed(row["best"], 2),
          wording.fixed(row["clean"], 2),
          wording.fixed(row["mean"], 2),
          row["verdict"].word,
        ]
      )
    )
  return "\n".join(lines)


def _leakage(rows, name: Name) -> str:
  lines = md.header(
    *("Attack", "What is read", "Correct", "Rate", "95% interval"),
    *("Unprotected features", "Chance", "Verdict"),
  )
  for row in rows:
    lines.append(
      md.row(
        [
          md.text(row["attack"]),
          md.text(name(row["what"])),
          wording.of(row["hits"], row["total"]),
          wording.percent(row["rate"]),
          wording.interval(row["low"], row["high"]),
          wording.percent(row["original"]),
          wording.percent(row["chance"]),
          row["verdict"].word,
        ]
      )
    )
  return "\n".join(lines)


def precision(results: Results) -> Iterator[str]:
  """Yields the mean average precision of the mechanism of the run."""
  for group in tables.precision(results):
    if group["mechanism"] == results.get("mechanism"):
      yield _precision(group["rows"])


def _precision(rows) -> str:
  lines = md.header(
    *("Reader", "Attributes", "Mean average precision", "95% interval"),
    *("Unprotected features", "Constant"),
  )
  for row in rows:
    lines.append(
      md.row(
        [
          md.text(row["reader"]),
          f"{row['count']} {row['what']}",
          wording.percent(row["value"]),
          wording.interval(row["low"], row["high"]),
          wording.percent(row["original"]),
          wording.percent(row["constant"]),
        ]
      )
    )
  return "\n".join(lines)
