"""The results in sentences: what is hidden, what kept, what is not claimed."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpriv.reports import feature_summary, features, verdicts, wording
from jaxpriv.reports import tasks as tasks_lib
from jaxpriv.reports.verdicts import Finding

Results = Mapping[str, Any]

HEADLINES = {
  "good": "Identity is hidden from every attack that was run",
  "unclear": "The attacks do not settle whether identity is hidden",
  "bad": "At least one attack still identifies people",
}
FEW_PEOPLE = 100


def headline(results: Results) -> str:
  """Returns the summary in one line."""
  if results.get("tasks"):
    return _training_headline(results.get("privacy"))
  if features.released(results):
    return feature_summary.headline(results)
  rows = results.get("identification", [])
  verdict = verdicts.overall(rows, results.get("mechanism", ""))
  if verdict.word == "not measured":
    return "Whether identity is hidden was not measured"
  return HEADLINES[verdict.level]


def findings(results: Results) -> list[Finding]:
  """Returns the cards for whatever was measured of the run's mechanism."""
  made = [
    identity(results),
    feature_summary.reconstruction(results),
    feature_summary.pairs(results),
    feature_summary.leakage(results),
    attributes(results),
    outputs(results),
    training(results),
    tasks(results),
  ]
  return [finding for finding in made if finding]


def level(results: Results) -> str:
  """How the headline is shown: good, unclear or bad."""
  if not results.get("tasks"):
    if features.released(results):
      return feature_summary.level(results)
    rows = results.get("identification", [])
    return verdicts.overall(rows, results.get("mechanism", "")).level
  privacy = results.get("privacy")
  if not privacy:
    return "bad"
  return "unclear" if privacy.get("not_private_phases") else "good"


def _training_headline(privacy) -> str:
  if not privacy:
    return "This model was trained without differential privacy"
  if privacy.get("not_private_phases"):
    return "Some phases were trained with differential privacy, others without"
  return (
    f"Training is differentially private for each {privacy['unit']}: epsilon"
    f" {wording.at_most(privacy['epsilon'])}, delta {privacy['delta']:.3g}"
  )


def training(results: Results) -> Finding | None:
  """Says what the training data are promised."""
  if "privacy" not in results or (
    not results["privacy"] and not results.get("tasks")
  ):
    return None
  privacy = results["privacy"]
  if not privacy:
    return Finding(
      "Training data",
      "ε = ∞",
      "not private",
      "bad",
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
      f" Not covered: {names}, trained on the same data without noise. What"
      " they made is not private."
    )
  if privacy.get("pretrained"):
    sentence += (
      f" Training began from the parameters of {privacy['pretrained']}; the"
      " data of that run are not covered."
    )
  return Finding(
    "Training data",
    f"ε = {wording.at_most(privacy['epsilon'])}",
    "partly private" if open_phases else "private",
    "unclear" if open_phases else "good",
    sentence,
  )


def tasks(results: Results) -> Finding | None:
  """Says how many scores beat the best constant answer."""
  rows = [r for r in tasks_lib.rows(results) if r["better"] is not None]
  if not rows:
    return None
  good = [r for r in rows if r["better"]]
  worse = [r["title"].lower() for r in rows if not r["better"]]
  sentence = (
    "Scores on people the model has not seen that are better than any constant"
    " answer, intervals included."
  )
  if worse:
    sentence += f" Not so: {'; '.join(worse)}."
  return Finding(
    "What it can do",
    f"{len(good)} of {len(rows)}",
    "works" if not worse else "works in part",
    "good" if not worse else "unclear",
    sentence,
  )


def describe_attack(row: Mapping[str, Any]) -> str:
  used = ", which the loss knows" if row.get("used_in_loss") else ""
  return (
    f"the {row['attack']} attack by {row['recogniser']}{used}, on the"
    f" {row['gallery'].replace(' ', '-')} gallery"
  )


def identity(results: Results) -> Finding | None:
  """Says what the strongest attack reaches, beside chance and the original."""
  rows = results.get("identification", [])
  row = verdicts.strongest(rows, results.get("mechanism", ""))
  if row is None:
    return None
  verdict = verdicts.identification(row, rows)
  found = [
    verdicts.identification(r, rows).word
    for r in verdicts.attacks(rows, row["mechanism"])
  ]
  hits = wording.of(row["hits"], row["total"]).replace("/", "of")
  sentence = (
    f"{found.count('protects')} of {len(found)} attacks are held off. The"
    f" strongest is {describe_attack(row)}: the right person comes first for"
    f" {hits} images, {wording.times(row['rate'], row['chance'])} chance"
    f" (95% interval {wording.interval(row['low'], row['high'])})."
  )
  witness = verdicts.reference(row, rows)
  if witness:
    sentence += (
      f" Without protection it is {wording.percent(witness['rate'])} of images."
    )
  if verdict.level == "unclear":
    sentence += f" Unclear: {verdict.reason}."
  return Finding(
    "Identity, strongest attack",
    wording.percent(row["rate"]),
    verdict.word,
    verdict.level,
    sentence,
  )


def _independent(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """Returns the rows of predictors that no loss has used, if there are any.

  Of released features, those of the decider: it is what they are released for.
  """
  decided = [r for r in rows if r["predictor"] == verdicts.DECIDER]
  return decided or [r for r in rows if not _of_the_loss(r)] or list(rows)


def _of_the_loss(row: Mapping[str, Any]) -> bool:
  return "loss" in row["predictor"].lower()


def attributes(results: Results) -> Finding | None:
  """Says how many attributes are kept, by the predictor that keeps fewest."""
  mine = results.get("mechanism")
  rows = [r for r in results.get("attributes", []) if r["mechanism"] == mine]
  if not rows:
    return None
  rows = _independent(rows)
  decided = rows[0]["predictor"] == verdicts.DECIDER
  by = "the decider" if decided else "every predictor"
  if not decided and not any(_of_the_loss(row) for row in rows):
    by += " that no loss has used"
  words: dict[str, list] = {}
  for row in rows:
    words.setdefault(row["attribute"], []).append(verdicts.attribute(row))
  kept = [
    n for n, found in words.items() if all(v.word == "kept" for v in found)
  ]
  lost = any(v.level == "bad" for found in words.values() for v in found)
  level = "good" if len(kept) == len(words) else "bad" if lost else "unclear"
  worst = min(rows, key=lambda r: r["rate"] - r["original"])
  change = wording.points(worst["rate"] - worst["original"])
  reader = "" if decided else f" by {worst['predictor']}"
  return Finding(
    "Utility, attributes kept" if decided else "Attributes kept",
    f"{len(kept)} of {len(words)}",
    "kept" if level == "good" else "some lost" if lost else "some weakened",
    level,
    f"Kept means within two points of the {verdicts.original(rows[0])},"
    f" by {by}."
    f" The largest change is {change} points:"
    f" {worst['attribute']}{reader},"
    f" {wording.percent(worst['original'])} to"
    f" {wording.percent(worst['rate'])}.",
  )


def outputs(results: Results) -> Finding | None:
  """Says how many different images were released."""
  mine = results.get("mechanism")
  rows = [r for r in results.get("outputs", []) if r["mechanism"] == mine]
  if not rows:
    return None
  row = rows[0]
  share = row["distinct"] / max(row["total"], 1)
  made = "feature maps" if features.released(results) else "ones"
  sentence = (
    f"{wording.count(row['total'])} images became"
    f" {wording.count(row['distinct'])} different {made}."
  )
  if share < 0.05:
    sentence += " Most images share theirs with many others."
  return Finding(
    "Distinct outputs", wording.percent(share), "information", "plain", sentence
  )


def not_claimed(results: Results, released: bool | None = None) -> list[str]:
  """Returns what nobody may read into the figures: some hold always.

  `released` tells whether they are of features, where nothing was measured.
  """
  if released is None:
    released = features.released(results)
  rows = results.get("identification", [])
  people = results.get("data", {}).get("people", {}).get("test")
  source = results.get("data", {}).get("source")
  said = list(results.get("not_claimed", []))
  privacy = results.get("privacy")
  if privacy:
    said.append(
      "The guarantee is of the training data and of nothing else: people whom"
      " the model is shown later are not protected by it. The losses of the"
      " run, in its folder metrics, were computed from the training data"
      " without noise: publish the parameters without them."
    )
  if results.get("tasks") and not rows:
    if not privacy:
      said.append(
        "Nobody in the training data is protected: parameters can give away who"
        " was in them, and what their photographs show."
      )
    if source:
      said.append(
        f"Scores hold for the data they were taken on ({source}). Other people,"
        " cameras, poses or crops need their own measurement."
      )
    return said
  if released:
    said += feature_summary.not_claimed(results)
  said.append(
    "These are measurements, not a proof. An attacker with more data, another"
    " network or knowledge that was not modelled here may do better."
  )
  if source:
    said.append(
      f"They hold for the data they were taken on ({source}). Other people,"
      " cameras, poses or crops need their own measurement."
    )
  said.append(
    "Only the face is examined. Clothes, places, other people in the picture,"
    " the order and the number of images can give a person away as well."
  )
  if results.get("attributes"):
    said.append(
      "Attributes that are kept stay readable on purpose. Together they can"
      " single out a person in a small group."
    )
  if any(r.get("used_in_loss") for r in rows):
    said.append(
      "A recogniser that is used in the loss is no independent witness: rely"
      " on the others."
    )
  if people is not None and people < FEW_PEOPLE:
    said.append(
      f"Only {people} people were in the test: identification is easier, and"
      " the intervals wider, than in a real gallery."
    )
  return said


def comparison(results: Results) -> list[dict[str, Any]]:
  """Returns one row per mechanism: its strongest attacks and what it keeps.

  Attributes are read by the same predictors for all, those that no loss has
  used if there are such.
  """
  rows = results.get("identification", [])
  rebuilt = results.get("reconstruction", [])
  shared = _shared_predictors(results)
  table = []
  for mechanism in verdicts.mechanisms(results):
    read = _independent(
      [
        r
        for r in results.get("attributes", [])
        if r["mechanism"] == mechanism and r["predictor"] in shared
      ]
    )
    changes = [r["rate"] - r["original"] for r in read]
    row = verdicts.strongest(rows, mechanism)
    table.append(
      {
        "mechanism": mechanism,
        "attack": row,
        "verdict": verdicts.overall(rows, mechanism),
        "rebuilt": features.strongest(rebuilt, mechanism),
        "rebuilding": features.overall(rebuilt, mechanism),
        "curve": next(iter(features.curves(results, mechanism)), None),
        "change": sum(changes) / len(changes) if changes else None,
        "predictors": sorted({r["predictor"] for r in read}),
        "outputs": _first(results.get("outputs", []), mechanism),
        "similarity": _first(results.get("similarity", []), mechanism),
      }
    )
  return table


def _shared_predictors(results: Results) -> set[str]:
  """The predictors that have read the output of every mechanism."""
  rows = results.get("attributes", [])
  readers: dict[str, set[str]] = {}
  for row in rows:
    readers.setdefault(row["mechanism"], set()).add(row["predictor"])
  return set.intersection(*readers.values()) if readers else set()


def _first(rows: Sequence[Mapping[str, Any]], mechanism: str):
  return next((r for r in rows if r["mechanism"] == mechanism), None)
