"""The results of released features in sentences; see also `summary`."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpriv.reports import features, wording
from jaxpriv.reports.verdicts import CLEAN, MEAN, Finding

Results = Mapping[str, Any]
Row = Mapping[str, Any]


def _mine(results: Results) -> tuple[Sequence[Row], str]:
  return results.get("reconstruction", []), results.get("mechanism", "")


def level(results: Results) -> str:
  return features.overall(*_mine(results)).level


def headline(results: Results) -> str:
  """Returns the summary in one line: the strongest attack, if one succeeds."""
  rows, mechanism = _mine(results)
  row = features.strongest(rows, mechanism)
  if row is None:
    return (
      "Whether photographs can be rebuilt from the released features was not"
      " measured"
    )
  verdict = features.reconstruction(row, rows)
  if verdict.word == "rebuilt":
    share = features.share(row, rows)
    part = " in part" if share is not None and share < 0.5 else ""
    text = (
      f"Photographs can be rebuilt{part} from the released features:"
      f" {features.describe(row)} reaches SSIM {wording.fixed(row['ssim'], 2)}"
    )
    clean = features.bound(rows, CLEAN, mechanism)
    if clean:
      text += f", unprotected features {wording.fixed(clean['ssim'], 2)}"
    return text
  if verdict.word == "identified":
    return (
      "People are recognised in what is rebuilt from the released features:"
      f" {features.describe(row)} gives away {wording.percent(row['rate'])} of"
      f" them, {wording.times(row['rate'], row['chance'])} chance"
    )
  if verdict.word == "leaks":
    read = row["attributes"]
    return (
      "Hidden attributes are read in what is rebuilt from the released"
      f" features: after {features.describe(row)} with a balanced accuracy of"
      f" {wording.percent(read['balanced'])}, where guessing has 50%"
    )
  if verdict.level == "good":
    return (
      "No attack that was run rebuilds the photographs from the released"
      " features"
    )
  return (
    "The attacks do not settle whether photographs can be rebuilt from the"
    " released features"
  )


def reconstruction(results: Results) -> Finding | None:
  """Says what the strongest attack rebuilds, beside the bounds."""
  rows, mechanism = _mine(results)
  found = features.attacks(rows, mechanism)
  if not found:
    return None
  row = found[0]
  verdict = features.reconstruction(row, rows)
  held = sum(features.reconstruction(r, rows).level == "good" for r in found)
  sentence = (
    f"{held} of {len(found)} attacks are held off. The strongest is"
    f" {features.describe(row)}: SSIM {wording.fixed(row['ssim'], 2)} (95%"
    f" interval {wording.span(row['ssim_low'], row['ssim_high'])})"
    f"{_beside(rows, mechanism)}."
  )
  if row["aligned_ssim"] > row["ssim"] + 0.005:
    sentence += (
      " With the best change of brightness it is"
      f" {wording.fixed(row['aligned_ssim'], 2)}."
    )
  sentence += f" {_recognised(found)}{_read(found)}"
  if verdict.level == "unclear":
    sentence += f" Unclear: {verdict.reason}."
  return Finding(
    "Reconstruction, strongest attack",
    f"SSIM {wording.fixed(row['ssim'], 2)}",
    verdict.word,
    verdict.level,
    sentence,
  )


def _beside(rows: Sequence[Row], mechanism: str) -> str:
  """Returns ", where the mean image has 0.20 and ... 0.85", as far as known."""
  parts = [
    f"{text} {wording.fixed(row['ssim'], 2)}"
    for text, row in (
      ("the mean image has", features.bound(rows, MEAN, mechanism)),
      (
        "the inverter of unprotected features",
        features.bound(rows, CLEAN, mechanism),
      ),
    )
    if row
  ]
  return f", where {' and '.join(parts)}" if parts else ""


def _recognised(found: Sequence[Row]) -> str:
  """Says after which attack people are recognised most often."""
  asked = [row for row in found if row["hits"] is not None]
  if not asked:
    return "Whether people are recognised in it was not measured."
  row = max(asked, key=lambda row: row["rate"] - row["chance"])
  verdict = features.identity(row)
  text = (
    "An independent recogniser finds the right person for"
    f" {wording.percent(row['rate'])} at most ({features.describe(row)}; chance"
    f" {wording.percent(row['chance'])}, undisguised"
    f" {wording.percent(row['undisguised'])})."
  )
  if verdict and verdict.level == "unclear":
    text += f" That settles nothing: {verdict.reason}."
  return text


def _read(found: Sequence[Row]) -> str:
  """Says after which attack most of the attributes are read, if any are."""
  row = max(
    (row for row in found if row["attributes"]),
    key=lambda row: row["attributes"]["balanced"],
    default=None,
  )
  if row is None:
    return ""
  read = row["attributes"]
  return (
    f" An independent predictor reads {read['what']} attributes with a balanced"
    f" accuracy of {wording.percent(read['balanced'])} at most"
    f" ({features.describe(row)}; guessing 50%, undisguised"
    f" {wording.percent(read['undisguised'])})."
  )


def pairs(results: Results) -> Finding | None:
  """Says how many known pairs invert the map."""
  rows = features.curves(results, results.get("mechanism", ""))
  if not rows:
    return None
  row = rows[0]
  verdict = features.curve(row)
  wanted = wording.fixed(row["threshold_ssim"], 2)
  largest = wording.count(row["largest"])
  best = max((point[1] for point in row["points"]), default=None)
  so_far = f"; the best is {wording.fixed(best, 2)}" if row["points"] else ""
  if row["pairs_needed"] is None:
    figure = f"> {largest}"
    sentence = (
      f"No number of known pairs up to {largest} reaches SSIM"
      f" {wanted}{so_far}. More pairs may."
    )
  else:
    figure = wording.count(row["pairs_needed"])
    noun = "pair" if row["pairs_needed"] == 1 else "pairs"
    sentence = (
      f"Whoever knows {figure} {noun} of released features and photograph"
      f" rebuilds other photographs with SSIM {wanted}. Up to {largest} were"
      f" tried{so_far}."
    )
  if verdict.level == "unclear":
    sentence += f" Unclear: {verdict.reason}."
  return Finding("Pairs needed", figure, verdict.word, verdict.level, sentence)


def leakage(results: Results) -> Finding | None:
  """Says what probes read from the features that nobody is meant to read."""
  found = [
    (row, features.leakage(row, results))
    for row in features.leaks(results, results.get("mechanism", ""))
  ]
  found = [(row, verdict) for row, verdict in found if verdict.level != "plain"]
  if not found:
    return None
  row, verdict = found[0]
  leaking = sum(v.level == "bad" for _, v in found)
  before = (
    f", unprotected {wording.percent(row['original'])}"
    if row["original"] is not None
    else ""
  )
  sentence = (
    f"{leaking} of {len(found)} probes read better than by guessing what the"
    f" features are not released for. The clearest is {row['attack']},"
    f" {_what(row, results)}: right for"
    f" {wording.percent(row['rate'])} (95% interval"
    f" {wording.interval(row['low'], row['high'])}, chance"
    f" {wording.percent(row['chance'])}{before})."
  )
  if verdict.level == "unclear":
    sentence += f" Unclear: {verdict.reason}."
  return Finding(
    "Leakage",
    f"{leaking} of {len(found)}",
    verdict.word,
    verdict.level,
    sentence,
  )


def _what(row: Row, results: Results) -> str:
  return wording.name(row["what"], results.get("names")).lower()


def not_claimed(results: Results) -> list[str]:
  """Returns what released features do not promise, unless it was measured."""
  rows, mechanism = _mine(results)
  found = features.attacks(rows, mechanism)
  links = {
    features.leakage(row, results).level
    for row in results.get("leakage", [])
    if row["mechanism"] == mechanism and row["what"] == "link"
  }
  said = [_secrecy(results, found, linked=links != {"good"})]
  if links and "bad" not in links and links != {"good"}:
    said.append(
      "Whether two releases of the same photograph can be linked (A8) is not"
      " settled."
    )
  elif links != {"good"}:
    said.append(
      "The same photograph gives the same features each time: two releases of"
      " it can be linked (A8)."
    )
  if not any(row["hits"] is not None for row in found):
    said.append(
      "Whether people are recognised in rebuilt photographs was not measured."
    )
  if not any(row["attributes"] for row in found):
    said.append(
      "Whether attributes are seen in rebuilt photographs was not measured."
    )
  said.append(
    "Features hold more than the decider reads: what no probe has asked them"
    " for was not measured."
    if results.get("leakage")
    else "What else can be read from the features, identity among it, was not"
    " measured."
  )
  return said


def _secrecy(results: Results, found: Sequence[Row], linked: bool) -> str:
  """Says what a holder of known pairs can do, as far as it was measured."""
  rows, mechanism = _mine(results)
  curves = features.curves(results, mechanism)
  judged = [(row, features.reconstruction(row, rows)) for row in found]
  tried = [(row, verdict) for row, verdict in judged if row["pairs"]]
  known = [row["pairs"] for row, _ in tried] + [r["largest"] for r in curves]
  levels = {verdict.level for _, verdict in tried}
  levels |= {features.curve(row).level for row in curves}
  holds = "released features together with their photographs"
  kind = "deterministic map" if linked else "map"
  text = f"Protection rests on the secrecy of a {kind}: "
  if "bad" in levels:
    text += f"{_enough(curves, tried, holds)}, measured)."
  elif levels == {"good"}:
    text += (
      f"{wording.count(max(known))} {holds} did not invert it (A1); more may."
    )
  else:
    text += f"whoever holds enough {holds} inverts it for all others (A1)."
    text += (
      f" Up to {wording.count(max(known))} were tried, and do not settle how"
      " many are enough."
      if known
      else " How many are enough was not measured."
    )
  without = [
    r["attack"] for r, v in judged if v.level == "bad" and not r["pairs"]
  ]
  if without:
    text += (
      " Attackers who hold no such pair succeed, too:"
      f" {', '.join(dict.fromkeys(without))}."
    )
  return text + (
    " Whoever has its parameters, or may run it, makes such pairs at will."
  )


def _enough(curves, tried, holds: str) -> str:
  """Says how many pairs were enough, and for what: "(A1" is left open."""
  for row in curves:
    if features.curve(row).level == "bad":
      wanted = wording.fixed(row["threshold_ssim"], 2)
      return (
        f"whoever holds {wording.count(row['pairs_needed'])} {holds} inverts it"
        f" for all others, with SSIM {wanted} (A1"
      )
  row, verdict = next((r, v) for r, v in tried if v.level == "bad")
  does = {
    "rebuilt": (
      f"inverts it for all others, with SSIM {wording.fixed(row['ssim'], 2)}"
    ),
    "identified": "recognises people in what it makes of the others",
    "leaks": "reads hidden attributes in what it makes of the others",
  }[verdict.word]
  return (
    f"whoever holds {wording.count(row['pairs'])} {holds} {does}"
    f" ({row['attack']}"
  )
