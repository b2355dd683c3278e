"""The recognisers of a search and of masks: resnet, resnet-mask and resnet-fsm.

They are phases, and by what they have learned candidates are scored and
photographs are masked.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxpriv.data import masks
from jaxpriv.methods.mask_desensitization import (
  attacker,
  search,
  settings,
  template,
)
from jaxpriv.models import backbones, heads
from jaxpriv.models.masknet import Masknet
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import recipes
from jaxpriv.training.builders import variables
from jaxpriv.training.method import Outputs, Phase


class Recognisers:
  """The recognisers of a config, and what is computed by them."""

  def __init__(self, config: ConfigDict):
    self.config = config
    options = dict(config.model.backbone)
    kind = options.pop("architecture")
    self.backbone = backbones.make(
      kind, dtype=jnp.dtype(config.dtype), **options
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
    if self.config.model.search.utility == settings.NONE:
      return lambda photographs, keep, frozen: jnp.zeros(len(keep))
    if self.config.model.search.utility == settings.VERIFICATION:
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
    if kind == settings.HIDDEN:
      return lambda photographs, keep, frozen: masks.hidden_ratio(keep)
    if kind == settings.ERROR:
      return attacker.error(settings.EIGENFACES)
    logits = self.logits(settings.RECOGNISER)
    return attacker.identity(settings.EIGENFACES, logits)

  def some_clear(self, key: jax.Array, batch: dict) -> dict:
    """Chooses photographs that are seen whole."""
    shape = batch["image"].shape[:1]
    clear = jax.random.bernoulli(key, self.config.model.clear, shape)
    return {**batch, "clear": mesh_lib.constrain(clear)}

  def keep(self, batch: Mapping[str, jax.Array], frozen: Any) -> jax.Array:
    """The masks of images: bool [B, S, S]."""
    images = batch["image"]
    if not self.config.model.per_image:
      return jnp.broadcast_to(frozen[settings.MASK]["keep"], images.shape[:3])
    maps = template.maps(
      self.logits(settings.RECOGNISER),
      images,
      frozen,
      self.config.model.template.contrast,
    )
    return template.most_salient(maps, 1 - self.config.model.per_image)

  def masked_recognition(self, name: str) -> Phase:
    """A recogniser of photographs under their masks, with a FSM or without."""
    gated = name == settings.MASKNET and self.config.model.layer
    backbone = self.backbone
    if gated:
      backbone = Masknet(backbone, self.config.model.layer)
    network = heads.MarginRecogniser(backbone, self.people)
    per_image, clear = self.config.model.per_image, self.config.model.clear
    needs = (settings.RECOGNISER,) if per_image else (settings.MASK,)

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
    if name == settings.MASKNET:
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
