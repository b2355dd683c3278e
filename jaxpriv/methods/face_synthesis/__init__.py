"""Face synthesis by StarGAN v2: faces of another domain in a person's place.

Zhang, Wang, Lin, "Big Data Assisted Object Detection with Privacy Protection",
and Choi, Uh, Yoo, Ha, "StarGAN v2: Diverse Image Synthesis for Multiple
Domains", CVPR 2020, whose loss and training this is. A step makes four moves on
one batch, each with the networks as the moves before have left them:

| move | style | updates |
|---|---|---|
| discriminator_latents | mapping network, of noise | discriminator |
| discriminator_references | style encoder, of a reference | discriminator |
| generator_latents | mapping network, of noise | generator, mapping, style |
| generator_references | style encoder, of references | generator alone |

  D: -log D_y(x) - log(1 - D_t(x')) + reg / 2 |grad_x D_y(x)|^2
  G: -log D_t(x') + sty |s - E_t(x')| - ds |x' - x''| + cyc |x - G(x', E_y(x))|

with x of domain y, x' = G(x, s) in the style s of domain t and x'' another one
in another style of t. ds falls to 0 by step ds_steps. Images are in [-1, 1].

A release shows each photograph in `config.model.target`, in a style drawn by
`config.model.secret` and the photograph, or the track of a video. Pose, and
more of a person, passes through the generator: attack it.

Decided here: references are other rows of the batch; their domain is drawn from
those that the batch has. The fake of the first move is that of the third, as
the generator does not move between; XLA computes it once. The paper's masks of
the high-pass skip are those of a landmark network; here details are kept about
the five points of a face, where the data have them, and the cycle takes those
of the source.
"""

from ml_collections import ConfigDict

from jaxpriv.errors import SettingError
from jaxpriv.methods.face_synthesis.checks import MADE_WITH, check
from jaxpriv.methods.face_synthesis.game import Game
from jaxpriv.methods.face_synthesis.settings import FOLDER, STARGAN
from jaxpriv.training import mechanism
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Phase

__all__ = ("MADE_WITH", "SECRETS", "STARGAN", "check", "phases", "targets")

SECRETS = ("model.secret",)
LIMITS = (
  "Pose, and more of the person, passes through the generator: nothing bounds"
  " what an attacker finds, and what was measured holds of these attackers.",
)


def phases(config: ConfigDict) -> list[Phase]:
  """The game of four networks; and references whose styles releases have.

  Without references, photographs of the target domain in model.folder, a
  release is in a style of noise.

  Args:
    config: with model.domains, names of `records.DOMAINS`; model.target, the
      domain of what is released; model.weights, of the losses; and fields of
      `stargan.Generator`, `stargan.Encoder` and `stargan.Mapping`.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  game = Game(config)
  first = game.phase()
  if "folder" not in config.model:
    return [first]
  if not config.model.folder:
    raise SettingError(
      f"references are photographs of a folder: name it in {FOLDER}"
    )
  if config.model.most < 1:
    raise SettingError(
      f"config.model.most = {config.model.most}: one reference is read at least"
    )
  return [first, game.references()]


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism, with what it does not promise, and its controls."""
  caution = ""
  if not config.model.secret:
    caution = (
      "config.model.secret is 0, as everybody's is: whoever has the model and a"
      " photograph can draw its style, and tell its release. Train with a"
      " number of your own"
    )
  products = mechanism.products(trained)
  target = Target(config.mechanism, config, trained, products)
  target = target._replace(caution=caution, limits=LIMITS)
  return mechanism.with_controls(target)
