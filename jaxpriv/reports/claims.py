"""How findings are grouped by what they claim, and what that is called.

Verdicts come from `jaxpriv.metrics.finding`; here they only get words.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxpriv.metrics import finding as finding_lib
from jaxpriv.metrics.finding import (
  BAD,
  GOOD,
  HIDDEN,
  KEPT,
  NOBODY,
  TOLD,
  UNCLEAR,
  Finding,
)
from jaxpriv.reports import wording
from jaxpriv.reports.results import Results

ATTRIBUTE = "attribute "  # how the claims begin that share one table
ATTRIBUTES = "attributes"
LONG = 40  # characters; longer text is a note, not the value of a column
WORDS = {
  (HIDDEN, GOOD): "hidden",
  (HIDDEN, BAD): "not hidden",
  (KEPT, GOOD): "kept",
  (KEPT, BAD): "lost",
}


class Topic(NamedTuple):
  """The findings on one subject of one group of claims.

  Attributes:
    title: for people.
    group: a claim, or ATTRIBUTES.
    wanted: HIDDEN, KEPT, or TOLD where nothing of the group is judged.
    findings: at least one.
  """

  title: str
  group: str
  wanted: str
  findings: list[Finding]


def group(finding: Finding) -> str:
  """The claim of a finding, or ATTRIBUTES for that of any attribute."""
  return ATTRIBUTES if finding.claim.startswith(ATTRIBUTE) else finding.claim


def short(claim: str) -> str:
  """A claim as a heading: "attribute Big_Nose" -> "Big Nose"."""
  return wording.name(claim.removeprefix(ATTRIBUTE))


def grouped(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
  """Returns the findings by group, in order of first appearance."""
  groups: dict[str, list[Finding]] = {}
  for finding in findings:
    groups.setdefault(group(finding), []).append(finding)
  return groups


def subjects(results: Results) -> list[str]:
  """Returns whose output was measured, the mechanism of the run first."""
  names = dict.fromkeys(f.subject for f in results.findings)
  names.pop(NOBODY, None)
  return sorted(names, key=lambda name: name != results.mechanism)


def topics(results: Results, subject: str) -> list[Topic]:
  """Returns the topics of a subject: to hide, to keep, told."""
  mine = [f for f in results.findings if f.subject == subject]
  listed = []
  for claim, findings in grouped(mine).items():
    judged = {f.wanted for f in findings} - {TOLD}
    for wanted in judged or {TOLD}:
      end = ", to hide" if wanted == HIDDEN else ", to keep"
      title = short(claim) + (end if len(judged) > 1 else "")
      chosen = [f for f in findings if f.wanted == wanted]
      listed.append(Topic(title, claim, wanted, chosen))
  return sorted(
    listed, key=lambda topic: (HIDDEN, KEPT, TOLD).index(topic.wanted)
  )


def worst(findings: Iterable[Finding], results: Results) -> Finding:
  """The finding that decides, or the first of those that are told.

  Where another metric of the same row says no worse, the row's own is taken.
  """
  listed = list(findings)
  chosen = finding_lib.worst(listed, results.metrics)
  if chosen is None:
    return listed[0]
  row = [f for f in listed if row_of(f) == row_of(chosen) and f.wanted != TOLD]
  same = results.judge(row[0]).level == results.judge(chosen).level
  return row[0] if same else chosen


def row_of(finding: Finding) -> tuple:
  """The key that the findings of one row share."""
  where = tuple(sorted(finding.where.items(), key=str))
  return finding.claim, finding.subject, finding.by, where


def word(finding: Finding, level: str) -> str:
  """A word for a verdict: "hidden", "not hidden", "kept", "lost", ..."""
  if level in (GOOD, BAD) and finding.wanted == KEPT and not finding.ceiling:
    return "works" if level == GOOD else "fails"
  return WORDS.get((finding.wanted, level), UNCLEAR if level != TOLD else "")


def value(finding: Finding, results: Results) -> str:
  """The figure: "0.6%", but "SSIM 0.71" where there is no unit."""
  metric = results.metric(finding)
  text = wording.figure(finding.value, metric)
  return text if metric.unit else f"{finding.metric} {text}"


def place(key: str, content: object) -> str:
  """One entry of `Finding.where` in a sentence: "1,024 pairs"."""
  noun = wording.name(key).lower()
  if content is True:
    return noun
  if not isinstance(content, (int, float)):
    return str(content)
  if not noun.endswith("s"):
    return f"{noun} {wording.number(content)}"
  return f"{wording.number(content)} {noun[:-1] if content == 1 else noun}"


def describe(finding: Finding) -> str:
  """By whom, and where: "parrot, independent VGG, other photograph"."""
  parts = [
    place(key, content)
    for key, content in finding.where.items()
    if content is not False and len(str(content)) <= LONG
  ]
  return ", ".join([wording.name(finding.by, keep=True), *parts])


def tally(findings: Sequence[Finding], results: Results) -> tuple[int, int]:
  """How many are good throughout, of how many: attributes, else attacks."""
  levels: dict[object, set[str]] = {}
  for finding in findings:
    whole = group(finding) == ATTRIBUTES
    key = finding.claim if whole else row_of(finding)
    levels.setdefault(key, set()).add(results.judge(finding).level)
  return sum(found == {GOOD} for found in levels.values()), len(levels)
