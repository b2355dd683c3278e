"""The results in sentences: what is hidden, what kept, what is not claimed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxpriv.metrics.finding import (
  BAD,
  GOOD,
  HIDDEN,
  KEPT,
  SEVERITY,
  TOLD,
  UNCLEAR,
  Finding,
)
from jaxpriv.reports import claims, wording
from jaxpriv.reports import curves as curves_lib
from jaxpriv.reports.results import Results

FEW_PEOPLE = 100
MODEL, FEATURES = "model", "features"
# What anybody would ask of a product; attributes are any of them.
ASKED = {FEATURES: ("appearance", "identity", "attributes", "linkage")}
TRAINING = "Training data"


class Headline(NamedTuple):
  """The results in one line; `level` is GOOD, UNCLEAR or BAD."""

  text: str
  level: str


class Card(NamedTuple):
  """One claim of the summary; `word` is empty where nothing is judged."""

  title: str
  figure: str
  word: str
  level: str
  sentence: str


def headline(results: Results) -> Headline:
  """Returns the worst of all that was wanted of the mechanism of the run."""
  listed = claims.topics(results, results.mechanism)
  hidden = [topic for topic in listed if topic.wanted == HIDDEN]
  kept = [topic for topic in listed if topic.wanted == KEPT]
  statement = _statement(results)
  parts = [statement] if statement else []
  if hidden or not statement:
    parts.insert(0, _hidden(hidden, results))
  parts.sort(key=lambda part: -SEVERITY[part.level])
  text, level = ". ".join(part.text for part in parts), parts[0].level
  for ill, end in (
    (BAD, "but some of what it should keep is lost"),
    (UNCLEAR, "but whether it keeps all that it should is not settled"),
  ):
    names = [
      claims.short(finding.claim, keep=True)
      for topic in kept
      for finding in topic.findings
      if claims.judge(finding, results).level == ill
    ]
    if names and SEVERITY[ill] > SEVERITY[level]:
      return Headline(f"{text}, {end}: {_several(names)}", ill)
  return Headline(text, level)


def _hidden(topics: Sequence[claims.Topic], results: Results) -> Headline:
  """Returns what became of all that should be hidden."""
  if not topics:
    return Headline("Whether anything is hidden was not measured", UNCLEAR)
  decisive = [claims.worst(topic.findings, results) for topic in topics]
  first, *_ = ordered = sorted(
    decisive, key=lambda finding: claims.order(finding, results)
  )
  level = claims.judge(first, results).level
  same = lambda findings: [
    claims.short(f.claim, keep=True)
    for f in findings
    if claims.judge(f, results).level == level
  ]
  if level == BAD:
    text = f"{claims.short(first.claim)} is not hidden:"
    text += f" {_reaches(first, results)}"
    others = same(ordered[1:])
    if others:
      verb = "is" if len(others) == 1 else "are"
      text += f". Neither {verb} {_several(others)}"
    return Headline(text, level)
  names = same(decisive)
  text = f"{_several(names)} {'is' if len(names) == 1 else 'are'} hidden"
  if level == GOOD:
    text = f"{text[:1].upper()}{text[1:]} from every attack that was run"
  else:
    text = f"The attacks do not settle whether {text}"
  return Headline(text, level)


def _reaches(finding: Finding, results: Results) -> str:
  """Returns "parrot reaches rank-1 9.0%, where knowing nothing has 0.5%"."""
  by = claims.describe(finding)
  return (
    f"{by} reaches {_measured(finding, results)}{_beside(finding, results)}"
  )


def _measured(finding: Finding, results: Results) -> str:
  metric = results.metrics[finding.metric]
  name = wording.name(finding.metric, keep=True)
  return f"{name} {wording.figure(finding.value, metric)}"


def _beside(finding: Finding, results: Results) -> str:
  """Returns ", where knowing nothing scores 0.5% and ...", as far as known."""
  write = lambda v: wording.figure(v, results.metrics[finding.metric])
  parts = []
  if finding.floor is not None:
    parts.append(f"knowing nothing scores {write(finding.floor)}")
  if finding.ceiling:
    end = write(finding.ceiling.value)
    parts.append(f"the same reader without protection {end}")
  return f", where {' and '.join(parts)}" if parts else ""


def _several(names: Sequence[str]) -> str:
  """Returns "A", "A and B", "A, B and C", or "A, B, C and 4 more"."""
  names = list(dict.fromkeys(names))
  if len(names) > 5:
    names = [*names[:4], f"{len(names) - 4} more"]
  *first, last = names
  return f"{', '.join(first)} and {last}" if first else last


def cards(results: Results) -> list[Card]:
  """Returns a card for each claim that was measured of the mechanism."""
  listed = claims.topics(results, results.mechanism)
  made = [_card(topic, results) for topic in listed]
  hidden = sum(topic.wanted == HIDDEN for topic in listed)
  proof = training(results)
  return [*made[:hidden], *([proof] if proof else []), *made[hidden:]]


def _card(topic: claims.Topic, results: Results) -> Card:
  worst = claims.worst(topic.findings, results)
  level, reason = claims.judge(worst, results)
  word = claims.word(worst, level)
  figure = claims.value(worst, results)
  if topic.wanted == TOLD:
    sentence = " ".join(_sentence(f, results) for f in topic.findings[:3])
    sentence = sentence[:1].upper() + sentence[1:]
    return Card(topic.title, figure, "", TOLD, sentence)
  good, total = claims.tally(topic.findings, results)
  by = claims.describe(worst)
  if topic.group == claims.ATTRIBUTES:
    figure = f"{good} of {total} {topic.wanted}"
    by = f"{claims.short(worst.claim)} by {by}"
  sentence = _tally(topic, good, total, by)
  sentence += f" {_sentence(worst, results)}"
  if topic.wanted == HIDDEN:
    sentence += _pairs(topic, results)
  if level == UNCLEAR:
    sentence += f" Unclear: {reason}."
  return Card(topic.title, figure, word, level, sentence)


def _tally(topic: claims.Topic, good: int, total: int, by: str) -> str:
  """How many of how many are good, and which of them says the worst."""
  attributes = topic.group == claims.ATTRIBUTES
  if total == 1 and not attributes:
    return f"{by[:1].upper()}{by[1:]}:"
  does, most = {
    HIDDEN: ("attacks are held off", "strongest"),
    KEPT: ("figures are kept", "weakest"),
  }[topic.wanted]
  if attributes:
    does = f"{topic.wanted}, by every reader"
  return f"{good} of {total} {does}. The {most} is {by}:"


def _sentence(finding: Finding, results: Results) -> str:
  """Returns a figure with its interval, its trials, its floor and ceiling."""
  metric = results.metrics[finding.metric]
  parts = []
  if finding.low < finding.high:
    span = wording.span(finding.low, finding.high, metric)
    parts.append(f"95% interval {span}")
  if finding.hits is not None:
    parts.append(wording.of(finding.hits, finding.total).replace("/", "of"))
  extra = f" ({'; '.join(parts)})" if parts else ""
  measured = f"{_measured(finding, results)}{extra}"
  return f"{measured}{_beside(finding, results)}."


def _pairs(topic: claims.Topic, results: Results) -> str:
  """Says how many known pairs reach the threshold, where it was asked for."""
  if not any(f.metric == curves_lib.METRIC for f in topic.findings):
    return ""
  curve = _curve(results)
  if curve is None or curve.threshold is None:
    return ""
  wanted = f"{curves_lib.METRIC} {wording.fixed(curve.threshold, 2)}"
  largest = wording.count(curve.points[-1][0])
  if curve.needed is None:
    return f" No number of known pairs up to {largest} reaches {wanted}."
  noun = "pair reaches" if curve.needed == 1 else "pairs reach"
  return (
    f" {wording.count(curve.needed)} known {noun} {wanted}; up to {largest}"
    " were tried."
  )


def _curve(results: Results) -> curves_lib.Curve | None:
  mine = [
    c for c in curves_lib.curves(results) if c.subject == results.mechanism
  ]
  return mine[0] if mine else None


def _statement(results: Results) -> Headline | None:
  """The privacy of training as a claim, where a model is released."""
  if MODEL not in results.products or "privacy" not in results.header:
    return None
  privacy = results.header["privacy"]
  if not privacy:
    return Headline("This model was trained without differential privacy", BAD)
  if privacy.get("not_private_phases"):
    text = "Some phases were trained with differential privacy, others without"
    return Headline(text, UNCLEAR)
  return Headline(
    f"Training is differentially private for each {privacy['unit']}: epsilon"
    f" {wording.at_most(privacy['epsilon'])}, delta {privacy['delta']:.3g}",
    GOOD,
  )


def training(results: Results) -> Card | None:
  """Says what the training data are promised: a proof, no measurement."""
  privacy = results.header.get("privacy")
  if not privacy:
    if _statement(results) is None:
      return None
    return Card(
      TRAINING,
      "ε = ∞",
      "not private",
      BAD,
      "Nothing bounds what the parameters tell about an image of the training"
      " data. Set config.dp.epsilon to bound it.",
    )
  open_phases = privacy.get("not_private_phases", [])
  sentence = (
    f"Whether any one {privacy['unit']} of {wording.count(privacy['units'])}"
    " was in the training data changes the chance of any outcome by at most a"
    f" factor of e to the ε, but for a probability δ of {privacy['delta']:.3g}"
    f" ({privacy['relation'].replace('_', ' ')},"
    f" {privacy['accountant'].upper()} accountant)."
  )
  if open_phases:
    names = ", ".join(open_phases)
    sentence += (
      f" Not covered: {names}, trained on the same data without noise. Their"
      " parameters are not private."
    )
  if privacy.get("pretrained"):
    sentence += (
      f" Training began from the parameters of {privacy['pretrained']}; the"
      " data of that run are not covered."
    )
  return Card(
    TRAINING,
    f"ε = {wording.at_most(privacy['epsilon'])}",
    "partly private" if open_phases else "private",
    UNCLEAR if open_phases else GOOD,
    sentence,
  )


def limits(
  products: Sequence[str],
  results: Results | None = None,
  given: Iterable[str] = (),
) -> list[str]:
  """Returns what nobody may read into the figures.

  Args:
    products: what is released.
    results: of the run, if it was evaluated.
    given: sentences that come first.
  """
  header: Mapping[str, Any] = results.header if results else {}
  findings = (
    [f for f in results.findings if f.subject == results.mechanism]
    if results
    else []
  )
  lines = [*given, *header.get("not_claimed", [])]
  privacy = header.get("privacy")
  if privacy:
    lines.append(
      "The guarantee is of the training data and of nothing else: people whom"
      " the model is shown later are not protected by it. The losses of the"
      " run, in its folder metrics, were computed from the training data"
      " without noise: publish the parameters without them."
    )
  elif MODEL in products:
    lines.append(
      "Nobody in the training data is protected: parameters can give away who"
      " was in them, and what their photographs show."
    )
  lines += _unmeasured(products, findings)
  if results:
    lines += _known_pairs(findings, results)
  # A model alone is no picture of anybody, unless somebody attacked it.
  hidden = any(f.wanted == HIDDEN for f in findings)
  pictures = hidden or set(products) != {MODEL}
  if pictures:
    lines.append(
      "These are measurements, not a proof. An attacker with more data, another"
      " network or knowledge that was not modelled here may do better."
    )
  source = header.get("data", {}).get("source")
  if source:
    lines.append(
      f"They hold for the data they were taken on ({source}). Other people,"
      " cameras, poses or crops need their own measurement."
      if pictures
      else f"Scores hold for the data they were taken on ({source}). Other"
      " people, cameras, poses or crops need their own measurement."
    )
  if pictures:
    lines += _of_pictures(findings, header)
  return list(dict.fromkeys(lines))


def _of_pictures(
  findings: Sequence[Finding], header: Mapping[str, Any]
) -> list[str]:
  lines = [
    "Only the face is examined. Clothes, places, other people in the picture,"
    " the order and the number of images can give a person away as well."
  ]
  if any(
    f.wanted == KEPT and claims.group(f) == claims.ATTRIBUTES for f in findings
  ):
    lines.append(
      "Attributes that are kept stay readable on purpose. Together they can"
      " single out a person in a small group."
    )
  if any(f.wanted == HIDDEN and f.where.get("used_in_loss") for f in findings):
    lines.append(
      "A reader that is used in the loss is no independent witness: rely on"
      " the others."
    )
  people = header.get("data", {}).get("people", {}).get("test")
  if people is not None and people < FEW_PEOPLE:
    lines.append(
      f"Only {people} people were in the test: identification is easier, and"
      " the intervals wider, than in a real gallery."
    )
  return lines


def _unmeasured(
  products: Sequence[str], findings: Sequence[Finding]
) -> list[str]:
  """Says which claims on a product were not asked for."""
  judged = [f.claim for f in findings if f.wanted != TOLD]
  missing = [
    name
    for product in products
    for name in ASKED.get(product, ())
    if not any(claim.startswith(name.removesuffix("s")) for claim in judged)
  ]
  if not missing:
    return []
  return [f"Not measured, and so not shown to be hidden: {_several(missing)}."]


def _known_pairs(findings: Sequence[Finding], results: Results) -> list[str]:
  """Says of each claim how many known pairs give it away, as far as tried."""
  hidden = [f for f in findings if f.wanted == HIDDEN]
  lines = []
  for claim in dict.fromkeys(f.claim for f in hidden if f.where.get("pairs")):
    mine = [f for f in hidden if f.claim == claim]
    tried = [f for f in mine if f.where.get("pairs")]
    name = claims.short(claim, keep=True)
    largest = wording.count(max(int(f.where["pairs"]) for f in tried))
    levels = {claims.judge(f, results).level for f in tried}
    if BAD in levels:
      bad = [f for f in mine if claims.judge(f, results).level == BAD]
      first = min(
        (f for f in bad if f in tried), key=lambda f: int(f.where["pairs"])
      )
      text = (
        f"Known pairs give {name} away: with"
        f" {wording.count(int(first.where['pairs']))}, {first.by} reaches"
        f" {_measured(first, results)}; up to {largest} were tried."
      )
    elif levels == {GOOD}:
      text = f"Up to {largest} known pairs do not give {name} away; more may."
    else:
      text = (
        f"Up to {largest} known pairs were tried, and do not settle how many"
        f" give {name} away."
      )
    without = [
      f.by
      for f in mine
      if f not in tried and claims.judge(f, results).level == BAD
    ]
    if without:
      text += f" Attackers who know no pair succeed, too: {_several(without)}."
    lines.append(text)
  return lines
