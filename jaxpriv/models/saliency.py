"""Excitation backprop: which pixels a network's output rests on.

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016. A
signal on the outputs is sent down. The signal p_i of a unit is shared among its
inputs a_j as they excite it (equation 1), through the positive weights alone:

  p_j = sum_i  a_j w+_ij p_i / z_i,   z_i = sum_j w+_ij a_j,   w+ = max(w, 0)

The network is any function of images. It is traced, and its jaxpr is walked
backwards, equation by equation:

| equation | what becomes of the signal |
|---|---|
| convolution, product with a constant | shared as above; biases get nothing |
| sum, mean, average pooling, residual sum | the same, with weights of 1 |
| difference of two | all to the first: the other has a negative weight |
| x + constant, x * constant, sigmoid | passes; where the constant is 0, none |
| max(x, constant): ReLU | passes where x is greater |
| max pooling, selection, reshaping | as a gradient: it goes where values came |
| reciprocal root; `stop_gradient` | none: statistics of norms are constants |

Where nothing excites a unit, its signal ends: z = 0 counts as share 0. So a map
sums to less than its signal where units are active by their bias alone. Inputs
a are activations, and negative ones excite nothing. That serves PReLU and leaky
ReLU, which have no lower bound to count from (the paper's equation 5). The
image has one: a black one. Whatever a network adds to it or scales it by before
its first layer, such as (x - .5) / .5, it excites by its distance from that.
GroupNorm passes the signal on as BatchNorm does. Anything else, such as a
product of two values that both depend on the image, is refused.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import JaxprEqn

from jaxpriv.equations import bind
from jaxpriv.errors import UserError

_CALLS = (
  "checkpoint",
  "closed_call",
  "core_call",
  "custom_jvp_call",
  "custom_vjp_call",
  "jit",
  "pjit",
  "remat",
  "remat2",
)
_LAYERS = ("conv_general_dilated", "dot_general")
_SUMS = ("add", "add_any", "cumsum", "reduce_sum", "reduce_window_sum")
_ROUNDING = ("convert_element_type", "copy", "copy_p", "reduce_precision")
_AFFINE = ("add", "add_any", "div", "mul", "neg", "sub", *_ROUNDING)
# These are monotone in the one operand that depends on the image.
_ELEMENTWISE = ("clamp", "logistic", "max", "min", *_AFFINE)
_ROUTING = (
  "broadcast_in_dim",
  "concatenate",
  "dynamic_slice",
  "gather",
  "max",
  "min",
  "pad",
  "reduce_max",
  "reduce_window_max",
  "reshape",
  "rev",
  "select_n",
  "slice",
  "split",
  "squeeze",
  "stack",
  "tile",
  "transpose",
  "unstack",
)
_CONSTANT = ("rsqrt", "stop_gradient")
# Less excitation than this is none: a quotient by it could overflow.
_NONE = 1e-20


class UnknownOperation(UserError, ValueError):
  """A network computes something that excitation backprop has no rule for."""


@dataclasses.dataclass(eq=False)
class _Value:
  """A result that depends on the image.

  Attributes:
    value: the array.
    ends: what it would be for a black and a white image, as long as it is a
      monotone function of single pixels; then None.
    positive: whether it is known not to be negative.
    users: the steps that it enters.
  """

  value: jax.Array
  ends: tuple[jax.Array, jax.Array] | None = None
  positive: bool = False
  users: list["_Step"] = dataclasses.field(default_factory=list)

  def excitation(self) -> jax.Array:
    """Returns the activation that excites the next layer, float32, >= 0."""
    value = _float32(self.value)
    if self.ends:
      value = value - _float32(jnp.minimum(*self.ends))
    elif self.positive:  # one array less to write to memory
      return value
    return jnp.maximum(value, 0)


class _Step(NamedTuple):
  """One equation.

  Attributes:
    equation: the equation.
    place: the modules that it is in, such as ResNet/conv1.
    operands: `_Value`s, and arrays where they do not depend on the image.
    results: those that signals return from: floating point numbers.
  """

  equation: JaxprEqn
  place: str
  operands: list[Any]
  results: list[_Value]

  @property
  def name(self) -> str:
    return self.equation.primitive.name

  @property
  def dependent(self) -> list[int]:
    return [i for i, x in enumerate(self.operands) if isinstance(x, _Value)]


def excitation_backprop(
  fn: Callable[[jax.Array], jax.Array],
  x: jax.Array,
  top: jax.Array,
  *,
  norm: Literal["fold", "pass"] = "fold",
  read: Literal["input", "first"] = "input",
  contrast: bool = False,
) -> jax.Array:
  """Sends a signal from the outputs of a network down to its images.

  The map is linear in `top`, unless it is contrastive, and each image's depends
  on that image alone, if fn's result does. To be called under `jax.jit`, with
  fn closed over: every equation runs by itself otherwise.

  Args:
    fn: x -> logits [B, K]: an unmodified network in inference mode, closed over
      its parameters.
    x: images [B, H, W, C] in [0, 1], floating point.
    top: the signal [B, K], such as one-hot rows.
    norm: a negative scale of BatchNorm turns round what excites a channel:
      "fold" has its sign change the weights of the layer before, as in a
      network whose norms were folded into its kernels, "pass" sends the signal
      through, as TorchRay does. Where no layer stands right before a norm, and
      in GroupNorm, the signal passes. Without negative scales both are equal.
    read: where the map is read: "input", or "first", at the output of the first
      layer, with its shape. "input" is right for images in [0, 1], normalised
      by fn or not at all. Take "first" for images that come normalised: no
      black is known, the darker half of the pixels is negative and would excite
      nothing.
    contrast: subtract the map of the dual signal, which the outputs' last layer
      sends down its negative weights. What is left is clamped at 0, as the sum
      over channels, and divided by its total.

  Returns:
    Non-negative float32 [B, H, W, C]. Each image's map sums to the sum of its
    signal (contrastive maps: to 1, or 0 if nothing is left), less what ends at
    units that nothing excites.

  Raises:
    UnknownOperation: no rule for an operation that the signal reaches; the
      message names it and its place.
    ValueError: arguments of other shapes or values.
  """
  if norm not in ("fold", "pass"):
    raise ValueError(f"norm must be 'fold' or 'pass', got {norm!r}")
  if read not in ("input", "first"):
    raise ValueError(f"read must be 'input' or 'first', got {read!r}")
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"images must be floating point, got {x.dtype}")
  closed = jax.make_jaxpr(fn)(x)
  shapes = [out.shape for out in closed.out_avals]
  if shapes != [top.shape]:
    raise ValueError(f"top has shape {top.shape}, fn's results {shapes}")
  image = _Value(x, (jnp.zeros_like(x), jnp.ones_like(x)))
  steps: list[_Step] = []
  (logits,) = _run(closed.jaxpr, closed.consts, [image], "", steps)
  layers = [step for step in steps if step.name in _LAYERS]
  if read == "first" and not layers:
    raise ValueError("there is no layer to read the map after")
  end = layers[0].results[0] if read == "first" else image
  result = _walk(steps, logits, _float32(top), end, norm, contrast)
  return _clamped(result) if contrast else result


def normalised(maps: jax.Array) -> jax.Array:
  """Maps [B, H, W, C] -> [B, H, W]: sums over C with a maximum of 1 each.

  So each image has the same weight in a mean over images. Maps of zeros stay.
  """
  total = maps.sum(-1)
  return _divided(total, total.max((1, 2), keepdims=True))


def _clamped(maps):
  """Maps whose sums over channels are clamped at 0 and add up to 1."""
  total = jax.nn.relu(maps.sum(-1, keepdims=True))
  positive = jax.nn.relu(maps)
  maps = _divided(positive, positive.sum(-1, keepdims=True)) * total
  return _divided(maps, maps.sum((1, 2, 3), keepdims=True))


def _run(jaxpr, consts, args, place: str, steps: list[_Step]) -> list:
  """Runs a jaxpr; notes each equation that depends on the image in `steps`."""
  env = dict(zip(jaxpr.constvars, consts, strict=True))
  env |= zip(jaxpr.invars, args, strict=True)
  read = lambda x: x.val if isinstance(x, core.Literal) else env[x]
  for equation in jaxpr.eqns:
    operands = [read(x) for x in equation.invars]
    params, name = equation.params, equation.primitive.name
    results: Sequence[Any]
    if not any(isinstance(x, _Value) for x in operands):
      results = bind(equation, operands)
    else:
      here = _joined(place, str(equation.source_info.name_stack))
      if name in _CALLS:
        inner = params["jaxpr" if "jaxpr" in params else "call_jaxpr"]
        results = _run(
          getattr(inner, "jaxpr", inner),
          getattr(inner, "consts", ()),
          operands,
          _joined(here, params.get("name", "")),
          steps,
        )
      else:
        results = _step(equation, here, operands, steps)
    env |= zip(equation.outvars, results, strict=True)
  return [read(x) for x in jaxpr.outvars]


def _joined(*places: str) -> str:
  return "/".join(filter(None, places))


def _step(equation, place, operands, steps) -> Sequence:
  """Runs an equation with an operand that depends on the image."""
  values = [x.value if isinstance(x, _Value) else x for x in operands]
  results: Sequence[Any] = bind(equation, values)
  name = equation.primitive.name
  if name in _CONSTANT:
    return results
  step = _Step(equation, place, operands, [])
  dependent = [operands[i] for i in step.dependent]
  ends: list = [None] * len(results)
  if all(x.ends for x in dependent) and (
    name in _ROUTING or (name in _ELEMENTWISE and len(dependent) == 1)
  ):
    function = _function(equation, operands)
    both = zip(*(x.ends for x in dependent), strict=True)
    ends = list(zip(*(function(*x) for x in both), strict=True))
  positive = name == "max" and any(
    not isinstance(x, _Value | jax.Array) and x >= 0 for x in operands
  )
  results = [
    _Value(value, end, positive)
    if jnp.issubdtype(value.dtype, jnp.floating)
    else value
    for value, end in zip(results, ends, strict=True)
  ]
  step.results.extend(x for x in results if isinstance(x, _Value))
  for x in dependent:
    x.users.append(step)
  if step.results:
    steps.append(step)
  return results


def _walk(steps, logits, top, end, norm, contrast) -> jax.Array:
  """Returns the signal that reaches the value `end`."""
  signals = {logits: top} if isinstance(logits, _Value) else {}
  above = set(signals)  # values with no layer between them and the outputs
  for step in reversed(steps):
    if step.results[0] is end:
      break
    if not any(x in signals for x in step.results):
      continue
    arriving = [
      signals.pop(x) if x in signals else jnp.zeros(x.value.shape)
      for x in step.results
    ]
    dual = step.name in _LAYERS and step.results[0] in above
    folded = norm == "fold" and step.name in _LAYERS
    sign = _sign(step) if folded and len(step.dependent) == 1 else 1.0
    shares = _shares(step, arriving, sign)
    if dual and contrast:
      opposite = _shares(step, arriving, -sign)
      shares = [a - b for a, b in zip(shares, opposite, strict=True)]
    for i, share in zip(step.dependent, shares, strict=True):
      value = step.operands[i]
      signals[value] = signals[value] + share if value in signals else share
      if not dual and above.intersection(step.results):
        above.add(value)
  if end not in signals:
    return jnp.zeros(end.value.shape)
  return signals[end]


def _shares(step: _Step, arriving: list, sign) -> list[jax.Array]:
  """Shares the signal on a step's results among its dependent operands.

  Args:
    step: the step.
    arriving: a signal for each result.
    sign: of a layer's weights, as an array that broadcasts with them.
  """
  name, dependent = step.name, step.dependent
  single = len(dependent) == 1
  if name in _LAYERS and (
    dependent == [0] or (name == "dot_general" and single)
  ):
    return _shared(step, arriving[0], sign)
  if name in _SUMS and not (name.startswith("add") and single):
    return _shared(step, arriving[0], sign)
  if name in _ELEMENTWISE and single:
    share = _passed(step, arriving[0])
    if share is not None:
      return [share]
  elif name == "sub":
    first, second = step.operands
    share = _summed_to(arriving[0], first.value.shape)
    return [share, jnp.zeros(second.value.shape)]
  elif name in _ROUTING:
    return _routed(step, arriving)
  product = name in (*_LAYERS, "mul", "div") and not single
  what = "two values that both depend on the image in " if product else ""
  raise UnknownOperation(
    f"excitation backprop has no rule for {what}{name!r}, at"
    f" {step.place or _line(step.equation)}. Choose another network, or hold"
    " the operation constant by jax.lax.stop_gradient"
  )


def _shared(step, signal, sign) -> list[jax.Array]:
  """Shares the signal of a linear step among its operands as they excite it."""
  equation = step.equation
  operands = [
    x if isinstance(x, _Value) else _float32(x) for x in step.operands
  ]
  if step.name in _LAYERS:
    (side,) = (i for i in range(2) if i not in step.dependent)
    operands[side] = jax.nn.relu(operands[side] * sign)
    highest = (jax.lax.Precision.HIGHEST,) * 2
    equation = equation.replace(
      params=equation.params
      | dict(precision=highest, preferred_element_type=jnp.dtype("float32"))
    )
  inputs = [step.operands[i].excitation() for i in step.dependent]
  (total,), transposed = jax.vjp(_function(equation, operands), *inputs)
  back = transposed([_divided(signal, total)])
  return [a * b for a, b in zip(inputs, back, strict=True)]


def _passed(step, signal) -> jax.Array | None:
  """The signal through an elementwise function; None if it has no rule."""
  (index,) = step.dependent
  x, name = step.operands[index], step.name
  if name in ("mul", "div"):
    if name == "div" and index:
      return None
    signal = jnp.where(step.operands[1 - index] != 0, signal, 0)
  elif name in ("max", "clamp"):
    if name == "clamp" and index != 1:
      return None
    least = step.operands[0 if name == "clamp" else 1 - index]
    # The result, not x: what sent the signal here has just read it.
    signal = jnp.where(step.results[0].value > least, signal, 0)
  return _summed_to(signal, x.value.shape)


def _routed(step, arriving) -> list[jax.Array]:
  """The signal as a gradient: to where the values of the results came from."""
  operands = [
    x if isinstance(x, _Value) else _float32(x) for x in step.operands
  ]
  inputs = [_float32(step.operands[i].value) for i in step.dependent]
  back = jax.vjp(_function(step.equation, operands), *inputs)[1]
  return list(back(arriving))


def _function(equation, operands):
  """An equation as a function of the operands that depend on the image."""

  def function(*inputs):
    left = iter(inputs)
    values = [next(left) if isinstance(x, _Value) else x for x in operands]
    return list(bind(equation, values))

  return function


def _sign(step) -> Any:
  """The sign that a layer's weights get from what its outputs are scaled by.

  Returns:
    An array that broadcasts with the weights. It is 1 where signs differ within
    a channel: they cannot be those of a norm.
  """
  sign: Any = 1.0
  (value,) = step.results
  while len(value.users) == 1:
    (user,) = value.users
    if user.name not in _AFFINE or len(user.dependent) > 1 or not user.results:
      break
    (index,) = user.dependent
    (result,) = user.results
    if result.value.shape != value.value.shape:
      break
    if user.name == "mul" or (user.name == "div" and index == 0):
      sign = sign * jnp.sign(_float32(user.operands[1 - index]))
    elif user.name == "neg" or (user.name == "sub" and index == 1):
      sign = -sign
    value = result
  if jnp.ndim(sign) == 0:
    return sign
  axes = _axes(step)
  shape = [1 if axis is None else sign.shape[axis] for axis in axes]
  return sign.reshape(shape) if math.prod(shape) == sign.size else 1.0


def _axes(step) -> list[int | None]:
  """For each axis of a layer's weights, the axis of its outputs that it is."""
  (side,) = (i for i in range(2) if i not in step.dependent)
  axes: list[int | None] = [None] * jnp.ndim(step.operands[side])
  numbers = step.equation.params["dimension_numbers"]
  if step.name == "conv_general_dilated":
    axes[numbers.rhs_spec[0]] = numbers.out_spec[1]
    return axes
  contracted, batched = numbers
  used = {*contracted[side], *batched[side]}
  free = [axis for axis in range(len(axes)) if axis not in used]
  # Outputs have the batches first, then the left operand's axes, the right's.
  ndim = step.results[0].value.ndim
  start = len(batched[0]) if side == 0 else ndim - len(free)
  for i, axis in enumerate(free):
    axes[axis] = start + i
  return axes


def _divided(a, b):
  """a / b, and 0 where b is."""
  some = b > _NONE
  # The quotient is last: XLA keeps that, and would compute a selection twice.
  return jnp.where(some, a, 0) / jnp.where(some, b, 1)


def _summed_to(signal, shape):
  """The sum over the axes along which an operand of this shape was repeated."""
  if signal.shape == shape:
    return signal
  axes = [i for i, size in enumerate(shape) if size != signal.shape[i]]
  return signal.sum(axes, keepdims=True)


def _float32(x):
  x = jnp.asarray(x)
  return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _line(equation) -> str:
  """The line of code that an equation was made by, outside JAX and Flax."""
  traceback = equation.source_info.traceback
  for frame in traceback.frames if traceback else ():
    if not any(f"/{name}/" in frame.file_name for name in ("jax", "flax")):
      return f"{frame.file_name}, line {frame.line_num}"
  return "an unknown line"
