"""The threat model: attackers' photographs, test people, readers, learning.

Attackers learn on photographs of config.evaluation.attacker_splits and are
scored on those of the test split, which neither they nor the mechanism has
seen; nor the people, unless data.split_by is "image".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.attacks import readers, training
from jaxpriv.data import alignment, pretrained
from jaxpriv.data.dataset import Data
from jaxpriv.data.memory import InMemory
from jaxpriv.data.sources import words
from jaxpriv.metrics import attributes
from jaxpriv.models.pretrained import catalogue
from jaxpriv.training import loop, progress, published, transfer, witnesses
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Phase, Predict, need

CALIBRATED = 1000  # photographs by which thresholds of witnesses are chosen


class Reader(NamedTuple):
  """A trained network that reads images.

  Attributes:
    name: as it stands in tables.
    read: photographs -> [N, D] embeddings, or [N, A] scores of attributes,
      above 0 where they are read, NaN where it cannot tell.
    used_in_loss: the mechanism was trained against it.
    trained_on: whose photographs a witness of others has learned from, where
      that is not the attackers'.
  """

  name: str
  read: Callable[[InMemory], np.ndarray]
  used_in_loss: bool = False
  trained_on: str = ""

  @property
  def where(self) -> dict[str, Any]:
    """Its columns of a finding."""
    loss = {"used_in_loss": True} if self.used_in_loss else {}
    if not self.trained_on:
      return loss
    return {**loss, "witness": f"trained on {self.trained_on}"}


class People:
  """Photographs, trained readers and options that all attacks share.

  Attributes:
    config: of the run.
    workdir: where attackers are kept.
    mesh: the mesh.
    known: photographs of the attackers.
    test: photographs of the people on whom they are scored.
    data: all of it.
    own: the mechanism under attack, some of whose networks are readers.
    learned: names of the attributes that it was taught; () if as in the data.
    strips: {"images", "captions"} of a few test photographs, for people to see.
  """

  def __init__(
    self,
    config: ConfigDict,
    workdir: epath.PathLike,
    mesh: jax.sharding.Mesh,
    known: InMemory,
    test: InMemory,
    data: Data | None = None,
    own: Trained | None = None,
    learned: tuple[str, ...] = (),
  ):
    self.config, self.workdir, self.mesh = config, workdir, mesh
    self.known, self.test = known, test
    self.data, self.own = data, own
    self.learned = learned
    self.strips: list[dict[str, Any]] = []
    self._shared: dict[Any, Any] = {}
    self._of_target: tuple[str, dict[Any, Any]] = ("", {})

  @property
  def options(self) -> ConfigDict:
    return self.config.evaluation

  def once(self, key: Any, make: Callable[[], Any], target: str = "") -> Any:
    """make(), kept under its key; with a target, only while it is attacked."""
    results = self._shared
    if target:
      if self._of_target[0] != target:
        self._of_target = (target, {})
      results = self._of_target[1]
    if key not in results:
      results[key] = make()
    return results[key]

  def train(
    self,
    phase: Phase,
    photographs: InMemory,
    options: ConfigDict,
    network: ConfigDict,
    *,
    start: Any = None,
    frozen: Mapping[str, Any] | None = None,
    renumber: bool = True,
  ) -> Any:
    """A trained attacker.

    Args:
      phase: to train.
      photographs: on what.
      options: of the phase.
      network: settings of its model.
      start: gives its first parameters, if any.
      frozen: states of other phases.
      renumber: whether people are numbered 0, 1, ... as they are here.
    """
    if renumber:
      photographs = training.as_classes(photographs)
    return training.train(
      phase,
      photographs,
      options,
      seed=self.config.seed,
      workdir=self.workdir,
      mesh=self.mesh,
      start=None
      if start is None
      else lambda state: transfer.adopt(state, start)[0],
      frozen=frozen,
      key=training.digest(photographs, options, network, start, frozen),
      # The finished state is kept, and one to go on from.
      cadences=loop.Options(save_every=self.config.train.save_every, keep=1),
    )

  def apply(
    self,
    fn: Predict | None,
    state: Any,
    frozen: Mapping[str, Any],
    photographs: InMemory,
    finish: Callable[[Any], Any] = lambda output: output,
    batch_size: int | None = None,
  ) -> Any:
    """An output of a method for all photographs, in order; numpy."""
    return training.apply(
      need(fn, "to read with"),
      state,
      frozen,
      photographs,
      self.mesh,
      batch_size or self.options.batch_size,
      finish=finish,
      most_bytes=self.options.memory,
    )

  def reader(
    self,
    name: str,
    fn: Predict | None,
    state: Any,
    frozen: Mapping[str, Any] | None = None,
    used_in_loss: bool = False,
  ) -> Reader:
    def read(photographs):
      return self.apply(fn, state, frozen or {}, photographs)

    return Reader(name, read, used_in_loss)

  def image(self, target: Target, photographs: InMemory) -> InMemory:
    """The photographs with the images that a target releases of them.

    They have a field "keep", bool [N, H, W], where the target has a public
    mask; see `jaxpriv.training.method.Outputs`.
    """
    # Kept with the photographs, whose id may pass to others when they are gone.
    held, released = self.once(
      ("image", id(photographs)),
      lambda: (photographs, self._released(target, photographs)),
      target.name,
    )
    assert held is photographs
    return released

  def _released(self, target: Target, photographs: InMemory) -> InMemory:
    processes = jax.process_count()
    everybody = -(-len(photographs) // processes) * processes
    rows = target.config.release.batch_size or everybody

    def read(output, finish):
      fn, state, frozen = target.trained.bound(output)
      return self.apply(
        fn, state, frozen, photographs, finish=finish, batch_size=rows
      )

    fields = {"image": read("image", published.images)}
    if target.trained.phase_with("keep"):
      fields["keep"] = read("keep", np.asarray)
    return photographs.replace(**fields)

  def digest(self) -> str:
    """A hash of all photographs."""
    with progress.slow("Hashing the photographs of the evaluation"):
      return self.once("digest", lambda: training.digest(self.known, self.test))

  # --- readers of images ---

  def recogniser(self) -> Reader:
    """A recogniser of another architecture, never used in any loss."""
    return self._recogniser()[0]

  def recogniser_state(self) -> Any:
    return self._recogniser()[1]

  def _recogniser(self) -> tuple[Reader, Any]:
    def make():
      options = self.options.phases.recogniser
      phase = self.recogniser_phase("recogniser", options)
      state = self.train(phase, self.known, options, self.recogniser_settings())
      name = f"independent {self.options.recogniser.architecture}"
      return self.reader(name, phase.method.outputs.embed, state), state

    return self.once("recogniser", make)

  def recogniser_phase(self, name: str, options: ConfigDict) -> Phase:
    return readers.recogniser(
      name,
      self.options.recogniser,
      self.options.head,
      options,
      len(np.unique(self.known.identities)),
    )

  def recogniser_settings(self) -> ConfigDict:
    options = self.options
    return ConfigDict(dict(network=options.recogniser, head=options.head))

  def predictor(self, name: str, of: str, known: InMemory) -> Reader:
    """A predictor of attributes that no mechanism has seen.

    Args:
      name: among config.evaluation.predictors.
      of: a name for the images of `known`, such as "originals".
      known: what it learns from.
    """
    options = self.options.phases[name]
    network = self.options.predictors[name]
    phase = readers.predictor(
      f"{name}_{of}", network, options, len(known.attribute_names)
    )
    state = self.train(phase, known, options, network)
    outputs = phase.method.outputs
    return self.reader(f"fresh {name.upper()}", outputs.attributes, state)

  def predictor_of_originals(self, name: str) -> Reader:
    make = lambda: self.predictor(name, "originals", self.known)
    return self.once(("predictor", name), make)

  def of_the_loss(self, output: str) -> list[Reader]:
    """The mechanism's own phases that can "embed", or read "attributes"."""
    own = self.own
    if own is None:
      return []
    return [
      self.reader(
        f"{phase.name.upper()} of the loss",
        getattr(phase.method.outputs, output),
        own.state(phase),
        own.frozen(phase),
        used_in_loss=True,
      )
      for phase in own.phases
      if getattr(phase.method.outputs, output)
    ]

  def witnesses(self) -> list[Reader]:
    """The recognisers among config.evaluation.witnesses."""
    return self.once(
      "witnesses",
      lambda: [
        self._witness(name, self._embedding)
        for name in self._fetched()
        if name in catalogue.RECOGNISERS
      ],
    )

  def others(self) -> list[Reader]:
    """Those among config.evaluation.witnesses that read attributes."""
    names = self.test.attribute_names

    def make():
      return [
        self._witness(name, self._attributes)
        for name in self._fetched()
        if set(catalogue.NETWORKS[name].attributes) & set(names)
      ]

    return self.once("others", make)

  def _fetched(self) -> list[str]:
    """Names of networks that no one here trained, and that can be read with.

    They read faces that are framed by their points.
    """

    def make():
      names = words(self.options.witnesses)
      if names and self.config.data.align not in alignment.BY_POINTS:
        logging.warning(
          "%s read faces framed by their points, and config.data.align is %s:"
          " left out", " and ".join(names), self.config.data.align,
        )  # fmt: skip
        return []
      absent = pretrained.missing(names)
      if absent:
        logging.warning(
          "witnesses left out, as they have not been fetched: %s; %s",
          ", ".join(absent),
          pretrained.FETCH,
        )
      return [name for name in names if name not in absent]

    return self.once("fetched", make)

  def _witness(self, name: str, read: Callable) -> Reader:
    network = witnesses.load(name)

    def slowly(photographs):
      with progress.slow(f"{name} reads {len(photographs):,} photographs"):
        return read(network, photographs)

    return Reader(
      name,
      slowly,
      trained_on=pretrained.weights_of(name).trained_on,
    )

  def _embedding(self, network, photographs: InMemory) -> np.ndarray:
    return witnesses.embed(
      network, photographs.arrays["image"], align=self.config.data.align
    )

  def _attributes(self, network, photographs: InMemory) -> np.ndarray:
    """[N, A], thresholds being those that suit the attackers' photographs."""

    def thresholds():
      known = self.known.take(
        np.linspace(0, len(self.known) - 1, min(CALIBRATED, len(self.known)))
        .astype(int)
      )  # fmt: skip
      return [
        attributes.threshold(scores, labels)
        for scores, labels in zip(
          self._said(network, known).T, known.arrays["attributes"].T,
          strict=True,
        )
      ]  # fmt: skip

    limits = self.once(("thresholds", network.name), thresholds)
    return self._said(network, photographs) - np.array(limits)

  def _said(self, network, photographs: InMemory) -> np.ndarray:
    """[N, A], what a network says of the attributes it knows, else NaN."""
    said = witnesses.read(
      network, photographs.arrays["image"], align=self.config.data.align
    )
    asked = catalogue.NETWORKS[network.name].attributes
    unknown = lambda outputs: np.full(len(photographs), np.nan)
    columns = [
      asked.get(name, unknown)(said) for name in photographs.attribute_names
    ]
    return np.stack(columns, axis=1)

  def recognisers(self) -> list[Reader]:
    """Those of the loss, the independent one, and those of others."""
    return self.once(
      "recognisers",
      lambda: [
        *self.of_the_loss("embed"),
        self.recogniser(),
        *self.witnesses(),
      ],
    )

  def predictors(self) -> list[Reader]:
    """The predictors of the loss, if they know the attributes of these data."""

    def make():
      if self.learned and self.learned != self.test.attribute_names:
        logging.info("other attributes here: those of the loss are not asked")
        return []
      return self.of_the_loss("attributes")

    return self.once("predictors", make)

  def read(self, reader: Reader) -> np.ndarray:
    """A reader's output for the undisguised test photographs."""
    return self.once(("read", reader.name), lambda: reader.read(self.test))
