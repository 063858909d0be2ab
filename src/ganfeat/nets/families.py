"""Which encoder, generator and discriminator go together, by the name of their architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.errors import InputError
from ganfeat.nets.alexnet import alexnet_trunk
from ganfeat.nets.dcgan import Discriminator, Generator
from ganfeat.nets.encoder import Encoder, conv_trunk
from ganfeat.nets.mlp import MLPDiscriminator, MLPGenerator, encoder_trunk


@dataclass(frozen=True)
class Plan:
    """What the networks of an encoder's objective are built from.

    Parameters
    ----------
    image_shape : (height, width, channels)
        Of what E sees.
    n_components : int
        Length of z.
    architecture : {"alexnet", "conv", "mlp"}
        ``alexnet`` has the G and D of ``conv``.
    width : int, optional
        Maps of the first layer of ``conv`` (64), units of the hidden layers of ``mlp`` (1024). AlexNet's own are fixed.
    kernel_size : int
        Of ``conv``, and of the G and D of ``alexnet``.
    norm_epsilon : float
    prior : {"uniform", "normal"}
    joint : bool
        Whether D sees z, too.
    stochastic : bool
        Whether E gives a distribution.
    generator_size : int, optional
        Side of what G draws and D sees, if smaller than the images, which must then be square.
    """

    image_shape: ImageShape
    n_components: int
    architecture: str = "conv"
    width: int | None = None
    kernel_size: int = 5
    norm_epsilon: float = 1e-5
    prior: str = "uniform"
    joint: bool = True
    stochastic: bool = False
    generator_size: int | None = None

    @property
    def small_shape(self) -> ImageShape:
        """Of what G draws and D sees."""
        if self.generator_size is None:
            return self.image_shape
        return (self.generator_size, self.generator_size, self.image_shape[2])

    @property
    def z_of_discriminator(self) -> int:
        """Length of the z that D sees."""
        return self.n_components if self.joint else 0


def _alexnet(plan: Plan) -> tuple[Encoder, nn.Module, Callable[[], nn.Module]]:
    trunk, n = alexnet_trunk(plan.image_shape, plan.norm_epsilon)
    return Encoder(trunk, n, plan.n_components, plan.prior, plan.stochastic), *_dcgan(plan)


def _conv(plan: Plan) -> tuple[Encoder, nn.Module, Callable[[], nn.Module]]:
    trunk, n = conv_trunk(plan.image_shape, _maps(plan), plan.kernel_size, plan.norm_epsilon)
    return Encoder(trunk, n, plan.n_components, plan.prior, plan.stochastic), *_dcgan(plan)


def _maps(plan: Plan) -> int:
    return 64 if plan.width is None else plan.width


def _dcgan(plan: Plan) -> tuple[nn.Module, Callable[[], nn.Module]]:
    """G, and how to make D."""
    width = _maps(plan)
    return (
        Generator(plan.small_shape, plan.n_components, width, plan.kernel_size, norm_epsilon=plan.norm_epsilon),
        lambda: Discriminator(
            plan.small_shape,
            width,
            plan.kernel_size,
            norm_epsilon=plan.norm_epsilon,
            n_components=plan.z_of_discriminator,
        ),
    )


def _mlp(plan: Plan) -> tuple[Encoder, nn.Module, Callable[[], nn.Module]]:
    width = 1024 if plan.width is None else plan.width
    trunk = encoder_trunk(plan.image_shape, width, plan.norm_epsilon)
    return (
        Encoder(trunk, width, plan.n_components, plan.prior, plan.stochastic),
        MLPGenerator(plan.small_shape, plan.n_components, width, plan.norm_epsilon),
        lambda: MLPDiscriminator(plan.small_shape, plan.z_of_discriminator, width, plan.norm_epsilon),
    )


ARCHITECTURES: dict[str, Callable[[Plan], tuple[Encoder, nn.Module, Callable[[], nn.Module]]]] = {
    "alexnet": _alexnet,
    "conv": _conv,
    "mlp": _mlp,
}


def build(plan: Plan, *, discriminator: bool = True) -> tuple[Encoder, nn.Module, nn.Module | None]:
    """E, G and D of a plan; without D for an objective that has none.

    Raises
    ------
    InputError
        If there is no such architecture, or a setting does not fit it or the images.
    """
    if not isinstance(plan.architecture, str) or plan.architecture not in ARCHITECTURES:
        raise InputError(
            f"architecture={plan.architecture!r} is not known: choose one of {', '.join(sorted(ARCHITECTURES))}"
        )
    _check_sizes(plan)
    encoder, generator, make_discriminator = ARCHITECTURES[plan.architecture](plan)
    return encoder, generator, make_discriminator() if discriminator else None


def _check_sizes(plan: Plan) -> None:
    height, width, _ = plan.image_shape
    size = plan.generator_size
    if size is None:
        return
    if height != width:
        raise InputError(
            f"generator_size={size} needs square images, and these are {height} x {width}: load them with "
            f"load_images(source, size={max(size, min(height, width))}), or leave generator_size out"
        )
    if size > height:
        raise InputError(
            f"generator_size={size} is larger than the images, {height} x {width}: it is the side to which they are "
            f"made smaller for G and D, so load larger images or give at most {height}"
        )
