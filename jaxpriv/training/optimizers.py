"""Optimizers and schedules from plain config values."""

import optax
from ml_collections import ConfigDict

from jaxpriv.errors import SettingError


def learning_rate(options: ConfigDict) -> optax.Schedule:
  """Linear warm-up over `warmup_steps`, then the named schedule to `steps`."""
  peak, warmup = options.learning_rate, options.warmup_steps
  rest = max(options.steps - warmup, 1)
  schedules = {
    "constant": optax.constant_schedule(peak),
    "cosine": optax.cosine_decay_schedule(peak, rest),
    "polynomial": optax.polynomial_schedule(peak, 0.0, 1.0, rest),
  }
  if options.schedule not in schedules:
    raise SettingError(
      f"schedule {options.schedule!r} is unknown; one of {sorted(schedules)}"
    )
  main = schedules[options.schedule]
  if not warmup:
    return main
  # From the first fraction, not from 0: no step is spent standing still.
  ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
  return optax.join_schedules([ramp, main], [warmup])


def make_optimizer(options: ConfigDict) -> optax.GradientTransformation:
  """An optax optimizer from the options of one phase; see configs.common.

  It does not clip: `clip_norm` is of the whole gradient, which may be that of
  several optimizers; builders see to it.
  """
  rate = learning_rate(options)
  b1, b2 = options.get("betas", (0.9, 0.999))
  optimizers = {
    "sgd": lambda: optax.chain(
      optax.add_decayed_weights(options.weight_decay),
      optax.sgd(rate, momentum=options.momentum),
    ),
    "adam": lambda: optax.adamw(
      rate, b1=b1, b2=b2, weight_decay=options.weight_decay
    ),
    # Decay is a part of the gradient, and scaled like it: torch's Adam.
    "adam_l2": lambda: optax.chain(
      optax.add_decayed_weights(options.weight_decay),
      optax.adam(rate, b1=b1, b2=b2),
    ),
  }
  if options.optimizer not in optimizers:
    raise SettingError(
      f"optimizer {options.optimizer!r} is unknown; one of {sorted(optimizers)}"
    )
  # The identity does nothing; checkpoints hold a state for it.
  return optax.chain(optax.identity(), optimizers[options.optimizer]())
