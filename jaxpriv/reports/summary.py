"""The results in sentences: what is hidden, what kept, what is not claimed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

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
from jaxpriv.reports.claims import Topic
from jaxpriv.reports.results import Results

FEW_PEOPLE = 100
MODEL, FEATURES = "model", "features"
# The claims to expect of each product; ATTRIBUTES stands for any attribute.
ASKED = {FEATURES: ("appearance", "identity", "attributes", "linkage")}


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
  proof = guarantee(results) if MODEL in results.products else None
  parts = [Headline(proof[0], proof[1].level)] if proof else []
  if hidden or not proof:
    parts.insert(0, _hidden(hidden, results))
  parts.sort(key=lambda part: -SEVERITY[part.level])
  text, level = ". ".join(part.text for part in parts), parts[0].level
  kept = [f for topic in listed if topic.wanted == KEPT for f in topic.findings]
  for ill, end in (
    (BAD, "but some of what it should keep is lost"),
    (UNCLEAR, "but whether it keeps all that it should is not settled"),
  ):
    names = _names(kept, results, ill)
    if names and SEVERITY[ill] > SEVERITY[level]:
      return Headline(f"{text}, {end}: {_several(names)}", ill)
  return Headline(text, level)


def _hidden(topics: Sequence[Topic], results: Results) -> Headline:
  """Returns what became of all that should be hidden."""
  if not topics:
    return Headline("Whether anything is hidden was not measured", UNCLEAR)
  decisive = [claims.worst(topic.findings, results) for topic in topics]
  first, *others = sorted(decisive, key=results.badness, reverse=True)
  level = results.judge(first).level
  if level == BAD:
    text = (
      f"{claims.short(first.claim)} is not hidden: {claims.describe(first)}"
      f" reaches {_measured(first, results)}{_beside(first, results)}"
    )
    if names := _names(others, results, BAD):
      verb = "is" if len(names) == 1 else "are"
      text += f". Neither {verb} {_several(names)}"
    return Headline(text, level)
  names = _names(decisive, results, level)
  text = f"{_several(names)} {'is' if len(names) == 1 else 'are'} hidden"
  if level == UNCLEAR:
    return Headline(f"The attacks do not settle whether {text}", level)
  text = f"{text[:1].upper()}{text[1:]} from every attack that was run"
  return Headline(text, level)


def _names(
  findings: Iterable[Finding], results: Results, level: str
) -> list[str]:
  """The claims of the findings with such a verdict."""
  return [
    wording.name(f.claim, keep=True)
    for f in findings
    if results.judge(f).level == level
  ]


def _measured(finding: Finding, results: Results) -> str:
  """Returns "rank-1 9.0%"."""
  name = wording.name(finding.metric, keep=True)
  return f"{name} {wording.figure(finding.value, results.metric(finding))}"


def _beside(finding: Finding, results: Results) -> str:
  """Returns ", where knowing nothing scores 0.5% and ...", as far as known."""
  metric, parts = results.metric(finding), []
  if finding.floor is not None:
    floor = wording.figure(finding.floor, metric)
    parts.append(f"knowing nothing scores {floor}")
  if finding.ceiling:
    end = wording.figure(finding.ceiling.value, metric)
    parts.append(f"the same reader without protection {end}")
  return f", where {' and '.join(parts)}" if parts else ""


def _several(names: Iterable[str]) -> str:
  """Returns "A", "A and B", "A, B and C", or "A, B, C and 4 more"."""
  listed = list(dict.fromkeys(names))
  if len(listed) > 5:
    listed = [*listed[:4], f"{len(listed) - 4} more"]
  *first, last = listed
  return f"{', '.join(first)} and {last}" if first else last


def cards(results: Results) -> list[Card]:
  """Returns a card for each claim that was measured of the mechanism."""
  listed = claims.topics(results, results.mechanism)
  made = [_card(topic, results) for topic in listed]
  hidden = sum(topic.wanted == HIDDEN for topic in listed)
  proof = guarantee(results)
  return [*made[:hidden], *([proof[1]] if proof else []), *made[hidden:]]


def _card(topic: Topic, results: Results) -> Card:
  worst = claims.worst(topic.findings, results)
  level, reason = results.judge(worst)
  word, figure = claims.word(worst, level), claims.value(worst, results)
  if topic.wanted == TOLD:
    if topic.group == claims.ATTRIBUTES:
      lines = [
        f"{claims.short(f.claim)} by {f.by}: {_sentence(f, results)}"
        for f in topic.findings
      ]
      figure = f"{len(lines)} readings"
    else:
      lines = [_sentence(f, results) for f in topic.findings]
    sentence = " ".join(lines[:3])
    sentence = sentence[:1].upper() + sentence[1:]
    return Card(topic.title, figure, word, level, sentence)
  good, total = claims.tally(topic.findings, results)
  by = claims.describe(worst)
  does, most = "attacks are held off", "strongest"
  if topic.wanted == KEPT:
    does, most = "figures are kept", "weakest"
  if topic.group == claims.ATTRIBUTES:
    figure = f"{good} of {total} {topic.wanted}"
    by = f"{claims.short(worst.claim)} by {by}"
    does = f"{topic.wanted}, by every reader"
  elif total == 1:
    does = ""
  start = f"{good} of {total} {does}. The {most} is {by}:"
  sentence = start if does else f"{by[:1].upper()}{by[1:]}:"
  sentence += f" {_sentence(worst, results)}"
  if any(f.metric == curves_lib.METRIC for f in topic.findings):
    sentence += _threshold(results) if topic.wanted == HIDDEN else ""
  if level == UNCLEAR:
    sentence += f" Unclear: {reason}."
  return Card(topic.title, figure, word, level, sentence)


def _sentence(finding: Finding, results: Results) -> str:
  """Returns a figure with its interval, its trials, its floor and ceiling."""
  parts = []
  if finding.low < finding.high:
    span = wording.span(finding.low, finding.high, results.metric(finding))
    parts.append(f"95% interval {span}")
  if finding.hits is not None:
    parts.append(f"{finding.hits:,} of {finding.total:,}")
  extra = f" ({'; '.join(parts)})" if parts else ""
  return f"{_measured(finding, results)}{extra}{_beside(finding, results)}."


def _threshold(results: Results) -> str:
  """Says how many known pairs reach the threshold, where it was asked for."""
  for curve in curves_lib.curves(results):
    if curve.subject != results.mechanism or curve.threshold is None:
      continue
    wanted = f"{curves_lib.METRIC} {wording.fixed(curve.threshold, 2)}"
    most = wording.count(max(curve.points))
    if curve.needed is None:
      return f" No number of known pairs up to {most} reaches {wanted}."
    noun = "pair reaches" if curve.needed == 1 else "pairs reach"
    needed = f"{wording.count(curve.needed)} known {noun} {wanted}"
    return f" {needed} on a line between those tried, up to {most}."
  return ""


def guarantee(results: Results) -> tuple[str, Card] | None:
  """The guarantee of training, in a line and on a card: it is proved.

  None where training data are no matter, and where there is neither a promise
  nor a model that would need one.
  """
  privacy = results.header.get("privacy")
  if not privacy:
    if "privacy" not in results.header or MODEL not in results.products:
      return None
    sentence = (
      "Nothing bounds what the parameters tell about an image of the training"
      " data. Set config.dp.epsilon to bound it."
    )
    return (
      "This model was trained without differential privacy",
      Card("Training data", "ε = ∞", "not private", BAD, sentence),
    )
  open_phases = privacy.get("not_private_phases", [])
  epsilon = wording.at_most(privacy["epsilon"])
  sentence = (
    f"Whether any one {privacy['unit']} of {wording.count(privacy['units'])}"
    " was in the training data changes the chance of any outcome by at most a"
    f" factor of e to the ε, but for a probability δ of {privacy['delta']:.3g}"
    f" ({privacy['relation'].replace('_', ' ')},"
    f" {privacy['accountant'].upper()} accountant)."
  )
  for bound in privacy.get("attackers", [])[:1]:
    sentence += (
      f" Whoever takes {wording.percent(bound['false_positives'])} of outsiders"
      " for members finds at most"
      f" {wording.percent_at_most(bound['true_positives'])} of the members"
    )
    others = "; ".join(
      f"{wording.percent_at_most(b['true_positives'])} at"
      f" {wording.percent(b['false_positives'])}"
      for b in privacy["attackers"][1:]
    )
    sentence += f" ({others})." if others else "."
  if open_phases:
    sentence += (
      f" Not covered: {', '.join(open_phases)}, trained on the same data"
      " without noise. Their parameters are not private."
    )
  if privacy.get("pretrained"):
    sentence += (
      f" Training began from the parameters of {privacy['pretrained']}; the"
      " data of that run are not covered."
    )
  if open_phases:
    text = "Some phases were trained with differential privacy, others without"
    word, level = "partly private", UNCLEAR
  else:
    text = (
      f"Training is differentially private for each {privacy['unit']}: epsilon"
      f" {epsilon}, delta {privacy['delta']:.3g}"
    )
    word, level = "private", GOOD
  return text, Card("Training data", f"ε = {epsilon}", word, level, sentence)


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
  header, findings = (results.header, results.findings) if results else ({}, [])
  findings = [f for f in findings if f.subject == header["mechanism"]]
  hidden = [f for f in findings if f.wanted == HIDDEN]
  lines = [*given, *header.get("not_claimed", [])]
  if header.get("privacy"):
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
  judged = [claims.group(f) for f in findings if f.wanted != TOLD]
  missing = [
    name
    for product in products
    for name in ASKED.get(product, ())
    if not any(claim.startswith(name) for claim in judged)
  ]
  if missing:
    text = "Not measured, and so not shown to be hidden:"
    lines.append(f"{text} {_several(missing)}.")
  if results:
    lines += _known_pairs(hidden, results)
  # A model alone is no picture of anybody, unless somebody attacked it.
  pictures = hidden or set(products) != {MODEL}
  if pictures:
    beyond = ", but for what is proven" if header.get("proven") else ""
    lines.append(
      f"These are measurements, not a proof{beyond}. An attacker with more"
      " data, another network or knowledge that was not modelled here may do"
      " better."
    )
  if source := header.get("data", {}).get("source"):
    lines.append(
      f"{'They' if pictures else 'Scores'} hold for the data they were taken on"
      f" ({source}). Other people, cameras, poses or crops need their own"
      " measurement."
    )
  if not pictures:
    return list(dict.fromkeys(lines))
  lines.append(
    "Only the face is examined. Clothes, places, other people in the picture,"
    " the order and the number of images can give a person away as well."
  )
  kept = [f for f in findings if f.wanted == KEPT]
  if any(claims.group(f) == claims.ATTRIBUTES for f in kept):
    lines.append(
      "Attributes that are kept stay readable on purpose. Together they can"
      " single out a person in a small group."
    )
  if any(f.where.get("used_in_loss") for f in hidden):
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
  return list(dict.fromkeys(lines))


def _known_pairs(hidden: Sequence[Finding], results: Results) -> list[str]:
  """Says of each claim how many known pairs give it away, as far as tried."""
  pairs = lambda f: int(f.where.get("pairs", 0))
  lines = []
  for claim in dict.fromkeys(f.claim for f in hidden if pairs(f)):
    mine = [f for f in hidden if f.claim == claim]
    bad = [f for f in mine if results.judge(f).level == BAD]
    enough = sorted((f for f in bad if pairs(f)), key=pairs)
    unsure = any(results.judge(f).level != GOOD for f in mine if pairs(f))
    name = wording.name(claim, keep=True)
    most = wording.count(max(map(pairs, mine)))
    if enough:
      text = (
        f"Known pairs give {name} away: with {pairs(enough[0]):,},"
        f" {enough[0].by} reaches {_measured(enough[0], results)}; up to {most}"
        " were tried."
      )
    elif unsure:
      text = (
        f"Up to {most} known pairs were tried, and do not settle how many give"
        f" {name} away."
      )
    else:
      text = f"Up to {most} known pairs do not give {name} away; more may."
    if without := [f.by for f in bad if not pairs(f)]:
      text += f" Attackers who know no pair succeed, too: {_several(without)}."
    lines.append(text)
  return lines
