"""A7: hidden attributes and identity, read from features without an image."""

from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from jaxpriv.attacks import attribute_inference, decision, reidentification
from jaxpriv.attacks.scene import Scene, plain
from jaxpriv.attacks.threat import People
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.training import recipes
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
KINDS = (("linear", 0), ("MLP", 64))


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Linear and MLP probes, on released features and on clean ones."""
  scene = Scene(target, people)
  names = people.test.attribute_names
  hidden = [name for name in names if name not in (target.kept or ())]
  columns = [names.index(name) for name in hidden]
  labels = people.test.arrays["attributes"][:, columns]
  for kind, units in KINDS:
    by = f"A7 {kind} probe"
    read: dict[str, dict[str, attribute_inference.Score]] = {}
    ranks: dict[str, reidentification.Rank] = {}
    logits: dict[str, np.ndarray] = {}
    for field in ("clean", "features"):
      known, shown = (
        plain(part).replace(
          features=part.arrays[field],
          attributes=part.arrays["attributes"][:, columns],
        )
        for part in (scene.known(), scene.test())
      )
      known, shown = known.without("image"), shown.without("image")
      if hidden:
        logits[field] = _probe(scene, kind, units, field, known, shown, hidden)
        read[field] = attribute_inference.score(
          logits[field][..., 1] - logits[field][..., 0],
          labels,
          tuple(hidden),
          shown.identities,
        )
      if units:
        ranks[field] = _identity(scene, field, known, shown, units)
    if hidden:
      yield from attribute_inference.findings(
        target, by, read["features"], read["clean"]
      )
    if units:
      rank = ranks["features"]
      yield finding.of(
        reidentification.IDENTITY,
        finding.HIDDEN,
        rank.metric,
        rank.figures,
        subject=target.name,
        by=by,
        floor=rank.chance,
        ceiling=reidentification.ceiling([ranks["clean"]], rank),
      )
    yield from decision.precision(target, people, by, "hidden", logits, labels)


def _features(batch):
  return batch["features"]


def _probe(scene, kind, units, field, known, shown, hidden) -> np.ndarray:
  """Logits [N, A, 2] of hidden attributes."""
  options = scene.options.phases.probe
  phase = recipes.attribute_prediction(
    f"probe_{kind}_{field}_{scene.target.name}",
    AttributePredictor(FeatureNet(128, units), len(hidden)),
    options,
    reads=_features,
  )
  people = scene.people
  state = people.train(phase, known, options, people.config.model)
  return scene.apply(phase.method.outputs.logits, state, shown)


def _identity(scene, field, known, shown, units) -> reidentification.Rank:
  """A recogniser of features, on other photographs of people."""
  options = scene.options.phases.recogniser.copy_and_resolve_references()
  options.augment = False  # augmentation is for photographs
  phase = recipes.recognition(
    f"identity_{field}_{scene.target.name}",
    FeatureNet(128, units),
    len(np.unique(known.identities)),
    options,
    head=scene.options.head,
    mirrored=False,
    reads=_features,
  )
  people = scene.people
  network = ConfigDict(dict(model=people.config.model, head=scene.options.head))
  state = people.train(phase, known, options, network)
  embeddings = scene.apply(phase.method.outputs.embed, state, shown)
  rank, *_ = reidentification.parrot(embeddings, shown.identities)
  return rank
