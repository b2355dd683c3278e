"""Settings of masks: what they may be, and which phases they change."""

from ml_collections import ConfigDict

from jaxpriv import ranges
from jaxpriv.data import masks, strokes
from jaxpriv.errors import SettingError
from jaxpriv.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, SHARE

# The phases; see the docstring of the package.
RECOGNISER, AWARE, TEMPLATE = "recogniser", "aware", "template"
EIGENFACES, SEARCH, MASK = "eigenfaces", "search", "mask"
PLAIN, MASKNET = "plain", "masknet"

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
PAIRED = 8  # times as many photographs as are paired

_IMAGES = ("data.image_size", "data.align")
# Phase -> the settings that it depends on.
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


def is_searched(config: ConfigDict) -> bool:
  """Whether a mask is searched for: not if it is given, or each has its own."""
  return not config.model.mask and not config.model.per_image


def check(config: ConfigDict) -> None:
  """Checks config.model.

  Raises:
    SettingError: a setting, which it names, cannot be so.
  """
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
  if is_searched(config):
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
