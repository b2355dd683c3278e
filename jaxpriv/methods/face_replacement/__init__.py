"""Face replacement: faces of nobody, that depend on a person by a few codes.

A release shows a made face. It depends on the photograph through codes alone,
named values of few levels each:

| code | levels | read from |
|---|---|---|
| yaw, pitch | `model.yaw`, `model.pitch` | the pose, labelled or by points |
| skin | one more than `model.skin` has edges | cheeks, `data.skin` |
| smile | 2, or 1 if `model.smile` is 0 | how wide the mouth is, by points |
| each of `model.attributes` | 0, 1, unknown | labels |

Everything else of the face is noise: of `model.secret` and the photograph, or
of the secret and the track of a video, so that a person keeps one face in it.

That bounds every attacker. Let c be the code of one of N equally likely people,
and z the noise, which is independent of who it is. By a release f(c, z) whoever
does not have the secret names the person with a probability of

  sum over c, z of P(z) max_i P(i) P(c | i) 1[guess of f(c, z) is i]
    <= sum over c of max_i P(c | i) / N  <=  (number of codes) / N

for given c, z one person is guessed. That holds of any f that was there before
it was settled who of the N is released: a generator that learned from some of
them tells who these are. With n releases of one person it is the number of
codes to the power of n. The rest of a photograph
that the face is pasted into (hair, clothes, place) is as it was, and no part of
that.

Faces are those of `jaxpriv.data.procedural` (`model.faces` is "drawn"), for
which nothing is trained; of a generator under conditions (`synthetic_game`)
that the run trains before ("learned"); or chosen out of those of a folder
("given").
"""

import os
import pathlib

from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.methods.face_replacement.drawn import Drawn
from jaxpriv.methods.face_replacement.given import FOLDER, GIVEN, Given
from jaxpriv.methods.face_replacement.learned import Learned
from jaxpriv.training import (
  extra_folder,
  mechanism,
  synthetic_game,
  transfer,
)
from jaxpriv.training.mechanism import Load, Target, Trained
from jaxpriv.training.method import Phase

FACES: dict[str, type[Drawn] | type[Learned] | type[Given]] = {
  "drawn": Drawn,
  "learned": Learned,
  "given": Given,
}
SECRETS = ("model.secret",)
MADE_WITH = {
  GIVEN: (
    *("data.image_size", "data.align", "model.yaw", "model.pitch"),
    *("model.skin", "model.smile", "model.attributes"),
  )
}
LIMITS = (
  "The bound is of the face alone: hair, clothes and the place, around a face"
  " that is pasted into a photograph, are as they were.",
  "The noise is that of JAX's random numbers, which are no cipher: the bound"
  " takes them for random to whoever has not the secret. Frames of one track"
  " show one face, and are one release only where their codes are alike.",
)
MEMORY = (
  "Faces are of a generator that learned from photographs of people, and how"
  " like these its faces are is not bounded. The bound is of people who are as"
  " likely to be replaced whomever it learned from: it should learn from"
  " others."
)
# By kinds of faces, what else is to be said of them.
_ALSO = {
  Learned: (MEMORY,),
  Given: (
    "Faces are those of a folder, as they are: of people, if it shows any, who"
    " must have agreed. The bound is of others than these.",
  ),
}


def phases(config: ConfigDict) -> list[Phase]:
  """One phase without training, after that of the faces, unless they are drawn.

  Args:
    config: with model.faces, one of `FACES`: for "learned" with what
      `synthetic_game.phase` has of a model, for "given" with model.folder, the
      faces to be shown, and model.most, so many at most; model.yaw and
      model.pitch, how many levels (1: always from the front); model.skin, the
      edges of the individual typology angle in degrees, falling (none: any
      skin); model.smile, the width of a mouth that smiles, over the distance of
      the eyes (0: the smile is no code); model.attributes, of data.attributes,
      of those that drawn faces can show if they are drawn; model.secret.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  return _codes(config).phases()


def _codes(config: ConfigDict) -> Drawn | Learned | Given:
  if config.model.faces not in FACES:
    raise SettingError(
      f"config.model.faces = {config.model.faces}: faces are one of"
      f" {', '.join(FACES)}"
    )
  return FACES[config.model.faces](config)


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that there are faces to show, or will be.

  Raises:
    DataError: a generator is neither trained here nor taken over as it was, or
      a folder is not read.
  """
  if config.model.faces == "given":
    copied = transfer.check_copied(config, MADE_WITH, load)
    if not copied and not config.phases[GIVEN].steps:
      raise DataError(
        f"faces are given (config.model.faces), and config.phases.{GIVEN}.steps"
        " is 0, in which the folder is read: give 1"
      )
    if not copied:
      _check_given(config)
  if config.model.faces != "learned":
    return
  copied = transfer.check_copied(config, synthetic_game.MADE_WITH, load)
  synthetic_game.check(config, data)
  if not copied and not config.phases[synthetic_game.SOURCE].steps:
    raise DataError(
      "faces are learned (config.model.faces), and config.phases.source.steps"
      " is 0: give steps, or config.pretrained with a run that has trained them"
    )


def _check_given(config: ConfigDict) -> None:
  """Reads the faces, of others than those who are replaced."""
  given, data = Given(config), config.data
  if data.source == "folder":
    shown, replaced = (
      pathlib.Path(os.path.realpath(os.path.expanduser(path)))
      for path in (given.extra.folder, data.path)
    )
    if shown == replaced or {*shown.parents} & {replaced}:
      raise DataError(
        f"{FOLDER} = {shown} is in config.data.path: faces of those who are to"
        " be replaced would be shown. Give faces of nobody, or of others"
      )
  extra_folder.check(given.extra)


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism, with what is proven of it, and its controls."""
  codes = _codes(config)
  count = codes.count
  caution = ""
  if not config.model.secret:
    caution = (
      "config.model.secret is 0, as everybody's is: whoever has a photograph"
      " can draw its face, and tell its release. Train with a number of your"
      " own"
    )
  other = config.copy_and_resolve_references()
  with other.unlocked():
    other.model.secret += 1
  target = Target(
    config.mechanism,
    config,
    trained,
    mechanism.products(trained),
    kept=words(config.model.attributes),
    again=trained._replace(phases=tuple(phases(other))),
    nobody=True,
    proven=(
      f"A face is a function of one of {count} codes and of noise: by one"
      " release of a person, whoever does not have the secret names them among"
      f" N equally likely people with a probability of at most {count}/N,"
      " whatever else they know of these people",
    ),
    limits=(*LIMITS, *_ALSO.get(type(codes), ())),
    caution=caution,
  )
  return mechanism.with_controls(target)
