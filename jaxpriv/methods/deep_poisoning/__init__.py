"""Deep poisoning: features are shared that anyone can classify, not invert.

Guo, Dolhansky, Hsin, Phong Dinh, Canton Ferrer, Wang, "Deep Poisoning: Towards
Robust Image Data Sharing against Visual Disclosure", WACV 2021. A classifier
C = D o f (2) is trained by (1) and cut at a layer; a reconstructor R by (3) to
invert f; then a module P is trained through f, D and R, all frozen, by

  CE(D(P(f(x))), y) + lambda * max(SSIM(x, R(P(f(x)))), 0)            (4) to (6)

P(f(x)) is released with its label. The paper minimises SSIM itself, which
rewards a photographic negative; here it is not pushed below 0. The term
KL(D(f(x)) || D(P(f(x)))) may be added, so that other deciders agree too.

`config.model.module` is the module in the place of P: "dpm" (P itself),
"shredder" (learned noise) or "none"; filters and noise of `config.model.after`
follow it. `config.model.refreshed` lets an adversary learn to invert P while P
is trained. `config.model.dpm.code` keys P: each image draws a secret code.
`config.model.featurizer` is "plain", "nopeek" (distance correlation of images
and features is minimised: Vepakomma et al., "NoPeek", 2020) or "obfuscator"
(the featurizer plays against a reconstructor and an adversary that reads hidden
attributes: Li et al., "DeepObfuscator", 2021).

The attributes of the data are split: the first half (`config.model.kept`) is
the task, the others are to stay hidden. With `config.model.task = "identity"`
the task is who it is, or which class of ImageNet, and all attributes are
hidden; that takes data.split_by = "image".
"""

from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.methods.deep_poisoning import classifier, poisoning, release
from jaxpriv.methods.deep_poisoning import split as split_lib
from jaxpriv.methods.deep_poisoning.classifier import (
  baseline,
  public_classifier,
)
from jaxpriv.methods.deep_poisoning.split import (
  CLASSIFIER,
  POISONING,
  RECONSTRUCTOR,
  draws,
  reconstructor,
  split_attributes,
  task_labels,
  visible,
)
from jaxpriv.methods.deep_poisoning.targets import targets
from jaxpriv.methods.deep_poisoning.transfer import (
  check_pretrained,
  featurizer_sha256,
)
from jaxpriv.training import recipes
from jaxpriv.training.mechanism import Load
from jaxpriv.training.method import Phase

__all__ = (
  "CLASSIFIER",
  "CLOSED_SET",
  "SECRETS",
  "baseline",
  "check",
  "draws",
  "featurizer_sha256",
  "phases",
  "public_classifier",
  "reconstructor",
  "split_attributes",
  "targets",
  "task_labels",
  "visible",
)


# With config.model.task = "identity" it tells known people apart.
CLOSED_SET = True
SECRETS = ("model.secret", "evaluation.colluders")


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks settings that depend on the task, and phases taken over.

  Raises:
    DataError: everybody is in all splits, and the task is not identity; or
      phases taken over do not fit, see `transfer.check_pretrained`.
  """
  if config.data.split_by == "image" and config.model.task != "identity":
    raise DataError(
      "data.split_by=image puts everybody into all splits, so that nothing can"
      " be measured on new people: it is for config.model.task=identity alone"
    )
  check_pretrained(config, data.source, load)


def phases(config: ConfigDict) -> list[Phase]:
  """Classifier, reconstructor and poisoning; the last protects.

  The last one's output "features" is released, float32 [B, H, W, C]; "logits"
  are D's of batch["features"], float32 [B, kept, 2] or [B, 1, people].

  Args:
    config: with model, phases, data.attributes.

  Raises:
    DataError: the data has no attribute, or not those of the task; or people
      are split by person where the task is to tell them apart.
    ValueError: a setting has an unknown value.
  """
  split = split_lib.make(config)
  options = config.phases
  game = config.model.featurizer == "obfuscator"
  return [
    (classifier.obfuscator if game else classifier.plain)(
      split, options[CLASSIFIER]
    ),
    recipes.reconstruction(
      RECONSTRUCTOR,
      reconstructor(config),
      options[RECONSTRUCTOR],
      features=lambda batch, frozen: split.features(batch["image"], frozen),
      needs=(CLASSIFIER,),
    ),
    release.seeded(
      poisoning.phase(split, options[POISONING]), config.model.secret
    ),
  ]
