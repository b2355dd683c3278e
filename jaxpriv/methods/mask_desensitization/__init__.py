"""Mask desensitization with recognition support.

Li et al., "On Mask-based Image Set Desensitization with Recognition Support",
arXiv 2312.08975. Released are photographs under one mask that hides most of
every face, and a network, the masknet, that tells people by what is left.

| phase | paper | trained, or found |
|---|---|---|
| recogniser | resnet | on photographs |
| aware | resnet-mask of table 1 | on photographs under random masks |
| template | equation (4) | mean saliency map of K photographs |
| eigenfaces | | what an attacker repairs by, where candidates are scored so |
| search | algorithm 1 | the mask, of many that are drawn |
| mask | | the mask alone: no photograph is kept with it |
| plain | resnet-mask | a recogniser of masked photographs |
| masknet | resnet-fsm | the same with a feature selection masknet (FSM) |

There is one polarity: masks say what to keep, 1 is visible. In the paper's
equation (2) the share of ones is called masked, and rewarded; what is rewarded
here is the share that is hidden, as its text and its tables have it.

Further decisions, as the text leaves them open or its tables speak against it:

* Candidates are scored by `aware` unless `config.model.search.utility` says
  otherwise. The paper scores them by the clean recogniser, which at such masks
  is at chance: over the six candidates of its table 6 its accuracy says nothing
  of the masknet's (Pearson -.24).
* Losses are divided by the logarithm of the number of people, so that gamma
  does not depend on it.
* Privacy is the hidden ratio unless `config.model.search.privacy` says that it
  is what an attacker who repairs photographs gets wrong.
* `config.model.clear` is the share of photographs that the masknet sees whole
  while it learns, so that it reads those, too.
* `config.model.mask` is a picture of a mask in place of the search.
* With `config.model.per_image` every photograph has its own mask, of the pixels
  that matter most for recognising it: the paper's future work.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxpriv import files, ranges
from jaxpriv.data import masks, strokes
from jaxpriv.data.dataset import Data
from jaxpriv.errors import SettingError
from jaxpriv.methods.mask_desensitization import attacker, search, template
from jaxpriv.models import backbones, heads
from jaxpriv.models.masknet import Masknet
from jaxpriv.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, SHARE
from jaxpriv.training import mechanism, recipes, transfer
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.builders import variables
from jaxpriv.training.mechanism import IMAGE, MODEL, Load, Target, Trained
from jaxpriv.training.method import Method, Outputs, Phase

RECOGNISER, AWARE, TEMPLATE = "recogniser", "aware", "template"
EIGENFACES, SEARCH, MASK = "eigenfaces", "search", "mask"
PLAIN, MASKNET = "plain", "masknet"

SECRETS = ("model.mask",)  # a path of here
BY_AWARE, CLEAN, VERIFICATION, NONE = UTILITIES = (
  *("aware", "clean", "verification", "none"),
)
HIDDEN, ERROR, IDENTITY = PRIVACIES = ("hidden", "error", "identity")
RANGES = {
  "search.at_once": COUNT,
  "search.photographs": COUNT,
  "search.components": COUNT,
  "search.gamma": NOT_NEGATIVE,
  "clear": BELOW_ONE,
  "per_image": BELOW_ONE,
  "fill": SHARE,
}
LIMITS = (
  "Pixels that are visible are those of the photographs.",
  "The model holds a direction for each person it has learned from, by which"
  " these people are told from others.",
)
MASKED = (
  "Whoever has the masknet tells people by their masked photographs: that is"
  " what it is for. Who should not, must not have it."
)
WHOLE = "It tells people by whole photographs, too."
PAIRED = 8  # times as many photographs as are paired
_IMAGES = ("data.image_size", "data.align")
MADE_WITH = {
  RECOGNISER: ("model.backbone", "model.head", *_IMAGES),
  AWARE: (
    *("model.backbone", "model.head", "model.fill", *_IMAGES),
    *(f"model.search.{k}" for k in ("hidden", "drawn", "segments", "strokes")),
  ),
  TEMPLATE: ("model.template.contrast", *_IMAGES),
  EIGENFACES: ("model.search.components", *_IMAGES),
  SEARCH: ("model.search", "model.template", "model.fill", *_IMAGES),
  MASK: ("model.mask", "model.search", "model.template", *_IMAGES),
  PLAIN: (
    *("model.backbone", "model.head", "model.per_image", "model.clear"),
    *("model.fill", *_IMAGES),
  ),
  MASKNET: ("model", *_IMAGES),
}


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks the search, and phases that are taken over untrained.

  Raises:
    DataError: phases were made with other settings, or the mask is none.
    SettingError: the search cannot be run so.
  """
  del data
  options = config.model.search
  if _searched(config) and options.at_once % jax.device_count():
    raise SettingError(
      f"config.model.search.at_once = {options.at_once} candidates cannot be"
      f" shared out among {jax.device_count()} devices: take a multiple"
    )
  if config.model.mask:
    read_mask(config)
  transfer.check_copied(config, MADE_WITH, load)


def phases(config: ConfigDict) -> list[Phase]:
  """Steps to a mask and to the masknet, in order; the last phase protects.

  Args:
    config: with model and phases, and data.num_people, the people to train on.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  _check_settings(config)
  parts = _Parts(config)
  model = config.model
  listed = [parts.recognition(RECOGNISER)]
  if model.mask:
    listed.append(Phase(MASK, (), _given(config)))
  elif _searched(config):
    listed += _found(config, parts)
  if model.plain and model.layer:  # without a FSM it is the masknet
    listed.append(parts.masked_recognition(PLAIN))
  listed.append(parts.masked_recognition(MASKNET))
  return listed


def _searched(config: ConfigDict) -> bool:
  """Whether a mask is searched for: not if it is given, or each has its own."""
  return not config.model.mask and not config.model.per_image


def _found(config: ConfigDict, parts: "_Parts") -> list[Phase]:
  """The phases by which a mask is found."""
  options, model, listed = config.phases, config.model, []
  judge = RECOGNISER if model.search.utility in (CLEAN, NONE) else AWARE
  if judge == AWARE:
    listed.append(parts.recognition(AWARE, transform=parts.random_masks))
  listed.append(
    template.phase(
      TEMPLATE, (RECOGNISER,), parts.logits(RECOGNISER), model.template.contrast
    )
  )
  needs = [RECOGNISER, judge, TEMPLATE]
  if model.search.privacy != HIDDEN:
    listed.append(attacker.phase(EIGENFACES, model.search.components))
    needs.append(EIGENFACES)
  listed.append(
    search.phase(
      SEARCH,
      tuple(dict.fromkeys(needs)),
      model.search,
      options[SEARCH].steps,
      config.seed,
      lambda frozen: template.critical(
        frozen[TEMPLATE],
        model.template.threshold,
        1 - model.search.hidden[1],
      ),
      parts.loss(judge),
      parts.privacy(),
      paired=model.search.utility == VERIFICATION,
      apart=attacker.OTHERS if model.search.privacy != HIDDEN else None,
    )
  )
  listed.append(Phase(MASK, (SEARCH,), _mask()))
  return listed


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The masked photographs and the masknet, and controls of the former."""
  target = Target(
    config.mechanism,
    config,
    trained,
    (IMAGE, MODEL),
    limits=(
      *((MASKED, WHOLE) if _reads_whole(config) else (MASKED,)),
      *LIMITS,
    ),
  )
  return [
    target,
    *(
      control._replace(products=(IMAGE,))
      for control in mechanism.with_controls(target)[1:]
    ),
  ]


def _reads_whole(config: ConfigDict) -> bool:
  """Whether the model that is released tells people by whole photographs."""
  return bool(config.model.clear or config.model.per_image)


def _check_settings(config: ConfigDict) -> None:
  model = config.model
  for sentence in ranges.problems(model, RANGES, "config.model."):
    raise SettingError(sentence)
  stages = len(model.backbone.depths)
  if not 0 <= model.layer <= stages:
    raise SettingError(
      f"config.model.layer = {model.layer}: the FSM stands behind one of"
      f" the {stages} stages of the backbone; 0 leaves it out"
    )
  if model.mask and model.per_image:
    raise SettingError(
      "config.model.mask is one mask for all photographs, and with"
      f" config.model.per_image = {model.per_image} each has its own: leave out"
      " one of the two"
    )
  if _searched(config):
    _check_search(config)


def _check_search(config: ConfigDict) -> None:
  options = config.model.search
  if options.utility not in UTILITIES:
    raise SettingError(
      f"config.model.search.utility is one of {', '.join(UTILITIES)}, not"
      f" {options.utility!r}"
    )
  if options.privacy not in PRIVACIES:
    raise SettingError(
      f"config.model.search.privacy is one of {', '.join(PRIVACIES)}, not"
      f" {options.privacy!r}"
    )
  batch, least = config.phases[SEARCH].batch_size, options.photographs
  if least > batch:
    raise SettingError(
      f"config.model.search.photographs = {least}: they are of one batch, which"
      f" has config.phases.search.batch_size = {batch}"
    )
  if options.utility == VERIFICATION and batch < PAIRED * least:
    raise SettingError(
      f"config.phases.search.batch_size = {batch}: of so few photographs hardly"
      f" two show one person, and verification needs such pairs: take"
      f" {PAIRED * least} or more"
    )
  least, most = options.hidden
  if not 0 < least <= most < 1:
    raise SettingError(
      f"config.model.search.hidden = {tuple(options.hidden)}: the least and the"
      " most share of a photograph that is hidden, between 0 and 1"
    )
  for end in (0, 1):
    try:
      strokes.check_strokes(
        strokes.Strokes(
          *(options.strokes[f][end] for f in strokes.Strokes._fields)
        ),
        options.segments,
      )
    except SettingError as error:
      raise SettingError(f"config.model.search: {error}") from error
  try:
    masks.is_kept(options.drawn)
  except SettingError as error:
    raise SettingError(f"config.model.search.drawn: {error}") from error


def _mask() -> Method:
  """The mask without the photographs that the search has kept."""

  def init(key, batch, frozen):
    del key, frozen
    side = batch["image"].shape[1:3]
    return {
      "keep": jnp.zeros(side, bool),
      "number": jnp.zeros((), jnp.int32),
      "score": jnp.zeros(()),
    }

  def step(state, frozen, batch, key):
    del batch, key
    found = {name: frozen[SEARCH][name] for name in state}
    return found, {"hidden": masks.hidden_ratio(found["keep"])}

  return Method(init, step)


def read_mask(config: ConfigDict) -> np.ndarray:
  """The mask that config.model.mask names: bool [S, S], white is visible.

  Raises:
    DataError: it is no picture of a mask, or hides all or nothing.
  """
  path = files.expanded(config.model.mask)
  return masks.read_picture(path, config.data.image_size, white=masks.KEPT)


def _given(config: ConfigDict) -> Method:
  """The mask of a picture, which is read when the phase is trained."""

  def init(key, batch, frozen):
    del key, frozen
    return {"keep": jnp.zeros(batch["image"].shape[1:3], bool)}

  def step(state, frozen, batch, key):
    del state, frozen, batch, key
    keep = jnp.asarray(read_mask(config))
    return {"keep": keep}, {"hidden": masks.hidden_ratio(keep)}

  return Method(init, step)


class _Parts:
  """Networks and functions that phases share."""

  def __init__(self, config: ConfigDict):
    self.config = config
    settings = dict(config.model.backbone)
    kind = settings.pop("architecture")
    self.backbone = backbones.make(
      kind, dtype=jnp.dtype(config.dtype), **settings
    )
    self.people = config.data.num_people

  def recognition(self, name: str, transform: Any = None) -> Phase:
    """A recogniser of whole photographs, or of randomly masked ones."""
    return recipes.recognition(
      name,
      self.backbone,
      self.people,
      self.config.phases[name],
      head=self.config.model.head,
      transform=transform,
    )

  def random_masks(self, key: jax.Array, batch: dict) -> dict:
    """Hides a part of each image by a mask of its own, as the search draws."""
    image = batch["image"]
    nothing = jnp.zeros(image.shape[1:3], bool)
    numbers = jax.random.randint(key, image.shape[:1], 0, 2**31 - 1)
    keep = jax.vmap(
      lambda number: search.candidate(
        self.config.seed, number, nothing, self.config.model.search
      )
    )(mesh_lib.constrain(numbers))
    return {**batch, "image": self.hide(image, keep)}

  def hide(self, images: jax.Array, keep: jax.Array) -> jax.Array:
    """Images [B, S, S, 3] with what a mask [S, S] or masks [B, S, S] leave."""
    fill = jnp.asarray(self.config.model.fill, images.dtype)
    return jnp.where(keep[..., None], images, fill)

  def logits(
    self, name: str, of: Callable = recipes.class_logits
  ) -> template.Logits:
    """Logits [B, people] of a trained recogniser."""
    network = heads.MarginRecogniser(self.backbone, self.people)

    def read(images, frozen):
      embeddings, weight = network.apply(
        variables(frozen[name]), images, train=False
      )
      return of(embeddings, weight, self.config.model.head)

    return read

  def loss(self, judge: str) -> search.Score:
    """How badly people are told by masked photographs; 0 if nobody asks."""
    if self.config.model.search.utility == NONE:
      return lambda photographs, keep, frozen: jnp.zeros(len(keep))
    if self.config.model.search.utility == VERIFICATION:
      network = heads.MarginRecogniser(self.backbone, self.people)

      def errors(photographs, keep, frozen):
        embeddings: Any = network.apply(
          variables(frozen[judge]),
          search.masked(photographs["image"], keep, self.config.model.fill),
          method="embed",
        )
        return search.pair_errors(
          embeddings.reshape(len(keep), -1, embeddings.shape[-1]),
          photographs["identity"],
          photographs["known"],
        )

      return errors
    logits = self.logits(judge, recipes.scaled_logits)

    def cross_entropy(photographs, keep, frozen):
      images = search.masked(photographs["image"], keep, self.config.model.fill)
      labels = jnp.tile(photographs["identity"], len(keep))
      losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(images, frozen), jnp.maximum(labels, 0)
      )
      chance = jnp.log(jnp.float32(max(self.people, 2)))
      return search.mean_known(losses / chance, photographs["known"])

    return cross_entropy

  def privacy(self) -> search.Score:
    """How little a mask gives away."""
    kind = self.config.model.search.privacy
    if kind == HIDDEN:
      return lambda photographs, keep, frozen: masks.hidden_ratio(keep)
    if kind == ERROR:
      return attacker.error(EIGENFACES)
    return attacker.identity(EIGENFACES, self.logits(RECOGNISER))

  def some_clear(self, key: jax.Array, batch: dict) -> dict:
    """Chooses photographs that are seen whole."""
    shape = batch["image"].shape[:1]
    clear = jax.random.bernoulli(key, self.config.model.clear, shape)
    return {**batch, "clear": mesh_lib.constrain(clear)}

  def keep(self, batch: Mapping[str, jax.Array], frozen: Any) -> jax.Array:
    """The masks of images: bool [B, S, S]."""
    images = batch["image"]
    if not self.config.model.per_image:
      return jnp.broadcast_to(frozen[MASK]["keep"], images.shape[:3])
    maps = template.maps(
      self.logits(RECOGNISER),
      images,
      frozen,
      self.config.model.template.contrast,
    )
    return template.most_salient(maps, 1 - self.config.model.per_image)

  def masked_recognition(self, name: str) -> Phase:
    """A recogniser of photographs under their masks, with a FSM or without."""
    gated = name == MASKNET and self.config.model.layer
    backbone = self.backbone
    if gated:
      backbone = Masknet(backbone, self.config.model.layer)
    network = heads.MarginRecogniser(backbone, self.people)
    per_image, clear = self.config.model.per_image, self.config.model.clear
    needs = (RECOGNISER,) if per_image else (MASK,)

    def shown(batch, frozen):
      keep = self.keep(batch, frozen)
      if "clear" in batch:
        keep |= batch["clear"][:, None, None]
      image = self.hide(batch["image"], keep)
      # One mask for all images costs as much as one image does.
      alike = not per_image and not clear
      return (image, keep[0] if alike else keep) if gated else (image,)

    def embed(apply, batch, frozen):
      # Released images come with their masks; photographs have none.
      images = batch["image"]
      keep = batch.get("keep", jnp.ones(images.shape[:3], bool))
      read = (images, keep) if gated else (images,)
      # As the other recognisers: with the mirror image, in its mirrored mask.
      mirrored = [x[:, :, ::-1] for x in read]
      return apply(*read, method="embed") + apply(*mirrored, method="embed")

    def image(apply, batch, frozen):
      return self.hide(batch["image"], self.keep(batch, frozen))

    def sample(apply, batch, frozen):
      return {
        "original": batch["image"],
        "protected": image(apply, batch, frozen),
      }

    outputs = Outputs(embed=embed)
    if name == MASKNET:
      outputs = Outputs(
        image=image,
        keep=lambda apply, batch, frozen: self.keep(batch, frozen),
        embed=embed,
        sample=sample,
      )
    return recipes.identification(
      name,
      network,
      self.people,
      self.config.phases[name],
      head=self.config.model.head,
      reads=shown,
      needs=needs,
      outputs=outputs,
      transform=self.some_clear if clear else None,
    )
