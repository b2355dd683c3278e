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

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data import masks
from jaxpriv.data.dataset import Data
from jaxpriv.errors import SettingError
from jaxpriv.methods.mask_desensitization import (
  attacker,
  search,
  settings,
  template,
)
from jaxpriv.methods.mask_desensitization.recognisers import Recognisers
from jaxpriv.training import mechanism, transfer
from jaxpriv.training.mechanism import IMAGE, MODEL, Load, Target, Trained
from jaxpriv.training.method import Method, Phase

SECRETS = ("model.mask",)  # a path of here
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


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks the search, and phases that are taken over untrained.

  Raises:
    DataError: phases were made with other settings, or the mask is none.
    SettingError: the search cannot be run so.
  """
  del data
  options = config.model.search
  if settings.is_searched(config) and options.at_once % jax.device_count():
    raise SettingError(
      f"config.model.search.at_once = {options.at_once} candidates cannot be"
      f" shared out among {jax.device_count()} devices: take a multiple"
    )
  if config.model.mask:
    read_mask(config)
  transfer.check_copied(config, settings.MADE_WITH, load)


def phases(config: ConfigDict) -> list[Phase]:
  """Steps to a mask and to the masknet, in order; the last phase protects.

  Args:
    config: with model and phases, and data.num_people, the people to train on.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  settings.check(config)
  recognisers = Recognisers(config)
  model = config.model
  listed = [recognisers.recognition(settings.RECOGNISER)]
  if model.mask:
    listed.append(Phase(settings.MASK, (), _given(config)))
  elif settings.is_searched(config):
    listed += _found(config, recognisers)
  if model.plain and model.layer:  # without a FSM it is the masknet
    listed.append(recognisers.masked_recognition(settings.PLAIN))
  listed.append(recognisers.masked_recognition(settings.MASKNET))
  return listed


def _found(config: ConfigDict, recognisers: Recognisers) -> list[Phase]:
  """The phases by which a mask is found."""
  options, model, listed = config.phases, config.model, []
  unmasked = model.search.utility in (settings.CLEAN, settings.NONE)
  judge = settings.RECOGNISER if unmasked else settings.AWARE
  if judge == settings.AWARE:
    masked = recognisers.random_masks
    listed.append(recognisers.recognition(settings.AWARE, transform=masked))
  listed.append(
    template.phase(
      settings.TEMPLATE,
      (settings.RECOGNISER,),
      recognisers.logits(settings.RECOGNISER),
      model.template.contrast,
    )
  )
  needs = [settings.RECOGNISER, judge, settings.TEMPLATE]
  if model.search.privacy != settings.HIDDEN:
    listed.append(attacker.phase(settings.EIGENFACES, model.search.components))
    needs.append(settings.EIGENFACES)
  listed.append(
    search.phase(
      settings.SEARCH,
      tuple(dict.fromkeys(needs)),
      model.search,
      options[settings.SEARCH].steps,
      config.seed,
      lambda frozen: template.critical(
        frozen[settings.TEMPLATE],
        model.template.threshold,
        1 - model.search.hidden[1],
      ),
      recognisers.loss(judge),
      recognisers.privacy(),
      paired=model.search.utility == settings.VERIFICATION,
      apart=attacker.OTHERS
      if model.search.privacy != settings.HIDDEN
      else None,
    )
  )
  listed.append(Phase(settings.MASK, (settings.SEARCH,), _mask()))
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
    found = {name: frozen[settings.SEARCH][name] for name in state}
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
