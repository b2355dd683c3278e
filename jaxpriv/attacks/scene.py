"""Reconstruction of photographs from features: what A0 to A6 have in common.

| attack, module | knows | does |
|---|---|---|
| A0 unseen_inverters | f, photographs of its own | inverts f with R0 to R5 |
| A1 known_pairs | N pairs of released features and photographs | learns an |
| | | inverter of its own; or maps them to f(x) by least squares |
| A2 chosen_photographs | may have photographs poisoned | learns without end |
| A3 own_modules | f, D, R and how P is trained | trains modules, inverts all |
| A4 colluding_modules | modules of other entities | as A3, with theirs |
| A5 unpaired | released features; photographs of others | makes the features |
| | | look like clean ones to which D says the same, and inverts f |
| A6 leaked_module | P itself, and no key | searches photograph and key that |
| | | give these features, from where least squares of own pairs lead |

A0 is the only one in Guo et al., WACV 2021. Three figures bound what an attack
can reach: an inverter of clean features from above, the mean image of other
people and another person's photograph from below.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.attacks import inversion, reidentification
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data import memory
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import attributes, finding, statistics
from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.attributes import Together
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.metrics.statistics import Mean
from jaxpriv.training import published
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import Phase, Predict

CLEAN, MEAN, OTHER = "clean features", "mean image", "another photograph"
BOUNDS = {
  CLEAN: "nothing is protected: an inverter of f(x), the upper bound",
  MEAN: "nothing but photographs of other people: their mean",
  OTHER: "nothing: a photograph of another person",
}
APPEARANCE = "appearance"
TOGETHER = "attributes together"
JUDGED = ("SSIM", "aligned SSIM")  # the other figures of likeness are told
LIKENESS = (*JUDGED, "|SSIM|", "L1", "PSNR")
GUESSING = 0.5  # the balanced accuracy of whoever sees nothing


class Figures(NamedTuple):
  """Measurements of rebuilt photographs.

  Attributes:
    likeness: metric -> its mean, with an interval by person.
    identity: name of a recogniser that no loss has used -> naive recognition.
    attributes: what a predictor reads in them, if there is one.
    undisguised: balanced accuracy of the same predictor on the photographs.
    rows: of the test photographs, those that were rebuilt.
  """

  likeness: Mapping[str, Mean]
  identity: Mapping[str, reidentification.Rank]
  attributes: Together | None
  undisguised: Interval | None
  rows: Any


class Scene:
  """A target that releases features, before the people of an evaluation.

  Attributes:
    target: under attack.
    people: known, and test.
  """

  def __init__(self, target: Target, people: People):
    self.target, self.people = target, people

  @property
  def options(self) -> ConfigDict:
    return self.people.options

  # --- features ---

  def known(self) -> InMemory:
    """The attackers' photographs, with released "features" and "clean" ones."""
    return self._with_features("known", self.people.known)

  def test(self) -> InMemory:
    """Photographs of the people on whom they are scored, likewise."""
    return self._with_features("test", self.people.test)

  def released(self, photographs: InMemory, name: str) -> np.ndarray:
    """Features that the target releases of photographs, known by a name."""
    return self.people.once(
      ("features", name),
      lambda: self._make("features", photographs),
      self.target.name,
    )

  def _make(self, output: str, photographs: InMemory) -> np.ndarray:
    fn, state, frozen = self.target.trained.bound(output)
    return self.people.apply(
      fn, state, frozen, photographs, finish=published.features
    )

  def _with_features(self, name: str, photographs: InMemory) -> InMemory:
    clean = self.people.once(
      ("clean", name), lambda: self._make("clean_features", photographs)
    )
    features = self.released(photographs, name)
    return photographs.replace(clean=clean, features=features)

  # --- learning ---

  def inverter(self, name: str, **arguments: Any) -> Phase:
    """An inverter; those of clean features serve all targets."""
    config = self.people.config
    if name != "clean":
      name = f"{name}_{self.target.name}"
    return inversion.inverter(
      name,
      config.model.reconstructor,
      config.data.image_size,
      **{"options": self.options.phases.inverter, **arguments},
    )

  def longer_schedule(self, pairs: int, **changes: Any) -> ConfigDict:
    """Options of an inverter that sees each of its pairs twice at least."""
    options = self.options.phases.inverter.copy_and_resolve_references()
    options.steps = max(options.steps, 2 * pairs // options.batch_size)
    options.update(changes)
    return options

  def train(
    self, phase: Phase, photographs: InMemory, options=None, frozen=None
  ) -> Any:
    kept = ("image", "identity", "attributes", "features")
    other = [name for name in photographs.arrays if name not in kept]
    photographs = photographs.without(*other)
    options = options or self.options.phases.inverter
    # Without frozen states the result depends on the target by features alone.
    model = self.people.config.model
    network = model if frozen else model.reconstructor
    return self.people.train(
      phase, photographs, options, network, frozen=frozen
    )

  def apply(
    self,
    fn: Predict | None,
    state: Any,
    photographs: InMemory,
    frozen: Mapping[str, Any] | None = None,
    finish: Callable = lambda output: output,
  ) -> Any:
    return self.people.apply(fn, state, frozen or {}, photographs, finish)

  def clean_inverter(self) -> tuple[Phase, Any]:
    """An inverter of clean features, trained on those of the attackers."""

    def make():
      options = self.longer_schedule(len(self.people.known))
      phase = self.inverter("clean", options=options)
      known = self.known()
      known = known.replace(features=known.arrays["clean"])
      return phase, self.train(phase, known, options)

    return self.people.once("clean inverter", make)

  def reconstruct(
    self,
    phase: Phase,
    state: Any,
    features: np.ndarray,
    rows: Any = slice(None),
  ) -> np.ndarray:
    released = self.people.test.take(rows).replace(features=features)
    finish = lambda images: finite(images, phase.name)
    return self.apply(
      phase.method.outputs.reconstruct, state, released, finish=finish
    )

  # --- measuring ---

  def show(self, caption: str, images: np.ndarray) -> None:
    """Adds a column to the strips of the report, of the mechanism's attacks."""
    people = self.people
    if self.target.control or not people.strips:
      return
    rows = np.linspace(0, len(people.test) - 1, len(people.strips)).astype(int)
    some = images[rows]
    some = some if some.dtype == np.uint8 else published.images(some)
    people.strips = [
      {
        "images": [*strip["images"], image],
        "captions": [*strip["captions"], caption],
      }
      for strip, image in zip(people.strips, some, strict=True)
    ]

  def clean_images(self) -> np.ndarray:
    """Test images rebuilt from clean features by their inverter."""
    return self.people.once(
      "clean images",
      lambda: self.reconstruct(
        *self.clean_inverter(), self.test().arrays["clean"]
      ),
    )

  def bounds(self) -> dict[str, Figures]:
    """Figures of an inverter of clean features, and of knowing nothing."""

    def make():
      test, known = self.people.test, self.people.known
      images = test.arrays["image"]
      mean = known.arrays["image"].mean(0, dtype=np.float64) / 255
      mean = np.broadcast_to(mean.astype(np.float32), images.shape)
      others = strangers(test.identities)
      other = (
        images[rows].astype(np.float32) / 255 for rows in _blocks(others)
      )
      return {
        CLEAN: self.measure(self.clean_images()),
        MEAN: self.measure(mean),
        OTHER: self.measure(self.gather(other, len(images))),
      }

    return self.people.once("bounds", make)

  def readers(self) -> tuple[list[Reader], Reader | None]:
    """Recognisers and predictor, which have learned from photographs alone."""
    people = self.people
    predictor = None
    if people.known.attribute_names:
      predictor = people.predictor_of_originals("vgg")
    return [people.recogniser(), *people.witnesses()], predictor

  def measure(self, images: np.ndarray, rows: Any = slice(None)) -> Figures:
    """Compares images, float32 [N, S, S, 3], with (some) test photographs."""
    test = self.people.test.take(rows)
    recognisers, predictor = self.readers()
    seen = (published.images(block) for block in _blocks(images))
    rebuilt = test.replace(image=self.gather(seen, len(images)))
    naive = {
      reader.name: reidentification.naive(
        self.people.read(reader)[rows], reader.read(rebuilt), test.identities
      )
      for reader in recognisers
    }
    read = original = None
    if predictor is not None:
      columns, _ = self._hidden()
      read, original = (
        attributes.together(
          predicted[:, columns] > 0,
          rebuilt.arrays["attributes"][:, columns],
          rebuilt.identities,
        )
        for predicted in (
          predictor.read(rebuilt),
          self.people.read(predictor)[rows],
        )
      )
    likeness = image_metrics.likeness(
      test.arrays["image"], images, test.identities
    )
    undisguised = original and original.balanced
    return Figures(likeness, naive, read, undisguised, rows)

  def some(self, photographs: InMemory, rows: np.ndarray) -> InMemory:
    """Some of the photographs; in a file where memory has no room."""
    arrays = {
      name: self.gather((array[part] for part in _blocks(rows)), len(rows))
      for name, array in photographs.arrays.items()
    }
    return InMemory(arrays, photographs.attribute_names)

  def gather(self, parts: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """Stacks parts of `rows` rows; see `memory.gather`."""
    return memory.gather(parts, rows, self.options.memory)

  def _hidden(self) -> tuple[list[int], str]:
    """Columns of hidden attributes; of the kept ones, if none is hidden."""
    names, kept = self.people.test.attribute_names, self.target.kept or ()
    hidden = [i for i, name in enumerate(names) if name not in kept]
    return hidden or list(range(len(names))), "hidden" if hidden else "kept"

  def rebuilt(
    self,
    by: str,
    images: np.ndarray,
    knows: str,
    rows: Any = slice(None),
    **where: Any,
  ) -> list[Finding]:
    """Findings of an attack that rebuilt (some) test photographs."""
    figures = self.measure(images, rows)
    findings = self.findings(by, figures, knows=knows, **where)
    logging.info(
      "%s, %s%s: %s",
      self.target.name,
      by,
      "".join(f", {key} {value}" for key, value in where.items()),
      ", ".join(f"{f.metric} {f.value:.3f}" for f in findings),
    )
    return findings

  def findings(
    self, by: str, figures: Figures, *, knows: str, **where: Any
  ) -> list[Finding]:
    """Findings on a bound, or on an attack beside the bounds."""
    bound = by in BOUNDS
    subject = finding.NOBODY if bound else self.target.name
    wanted = finding.TOLD if bound else finding.HIDDEN
    columns = {"knows": knows, **where}
    bounds = {} if bound else self.bounds()

    def ends(metric):
      # Exact copies have no PSNR to compare with.
      if bound or any(metric not in b.likeness for b in bounds.values()):
        return {}
      best = bounds[CLEAN].likeness[metric]
      return {
        "floor": bounds[MEAN].likeness[metric].value,
        "ceiling": Interval(best.value, best.low, best.high),
      }

    likeness = [
      (metric, figures.likeness[metric])
      for metric in LIKENESS
      if metric in figures.likeness
    ]
    findings = [
      finding.of(
        APPEARANCE,
        wanted if metric in JUDGED else finding.TOLD,
        metric,
        mean,
        subject=subject,
        by=by,
        where=columns,
        **ends(metric),
      )
      for metric, mean in likeness
    ]
    recognisers, predictor = self.readers()
    identities = self.people.test.identities[figures.rows]
    for reader in recognisers:
      originals = self.people.read(reader)[figures.rows]
      plain = reidentification.naive(originals, originals, identities)
      rank = figures.identity[reader.name]
      findings.append(
        finding.of(
          reidentification.IDENTITY,
          wanted,
          "rank-1",
          rank.figures,
          subject=subject,
          by=by,
          floor=rank.chance,
          ceiling=reidentification.ceiling([plain], rank),
          where={"recogniser": reader.name, **columns, **reader.where},
        )
      )
    if figures.attributes and predictor:
      findings += self._read(figures, subject, by, wanted, predictor, columns)
    return findings

  def _read(
    self,
    figures: Figures,
    subject: str,
    by: str,
    wanted: str,
    predictor: Reader,
    columns: Mapping[str, Any],
  ) -> list[Finding]:
    """Attributes that are read in what was rebuilt, all taken together."""
    assert figures.attributes is not None
    assert figures.undisguised is not None
    read = figures.attributes
    _, what = self._hidden()
    clean = None
    if by not in BOUNDS:
      clean = self.bounds()[CLEAN].attributes
    ceiling = figures.undisguised
    if clean and clean.balanced.low <= GUESSING < ceiling.low:
      # Not even unprotected features give them away by this inverter.
      ceiling = clean.balanced
    columns = {"predictor": predictor.name, "what": what, **columns}
    balanced = Finding(
      subject=subject,
      claim=TOGETHER,
      wanted=wanted if what == "hidden" else finding.TOLD,
      by=by,
      metric="balanced accuracy",
      **read.balanced._asdict(),
      total=read.total,
      floor=GUESSING,
      ceiling=ceiling,
      where=columns,
    )
    right = statistics.proportion(read.hits, read.total)
    accuracy = finding.of(
      TOGETHER,
      finding.TOLD,
      "accuracy",
      right,
      subject=subject,
      by=by,
      floor=read.majority,
      where=columns,
    )
    return [balanced, accuracy]


def _blocks(array: np.ndarray, size: int = 256) -> Iterator[np.ndarray]:
  """The array in pieces, so that results need not be as large in memory."""
  return (array[i : i + size] for i in range(0, len(array), size))


def strangers(identities: np.ndarray) -> np.ndarray:
  """For each row another one, of somebody else."""
  order = np.argsort(identities, kind="stable")
  largest = np.unique(identities, return_counts=True)[1].max()
  other = np.empty(len(order), int)
  other[order] = np.roll(order, -largest)
  return other


def finite(images: np.ndarray, who: str) -> np.ndarray:
  """The images, grey where they are not finite, which is logged."""
  bad = ~np.isfinite(images).all(axis=(1, 2, 3))
  if bad.any():
    logging.warning(
        "%s: %d of %d reconstructions are not finite, and grey in what follows",
        who, bad.sum(), len(bad),
    )  # fmt: skip
    images = np.where(bad[:, None, None, None], np.float32(0.5), images)
  return images


def fitted(features: np.ndarray) -> np.ndarray:
  """float16 of an attacker's features, which may be anything."""
  largest = float(np.finfo(np.float16).max)
  return np.clip(np.nan_to_num(features), -largest, largest).astype(np.float16)


def plain(photographs: InMemory) -> InMemory:
  """The photographs without features."""
  return photographs.without("features", "clean")
