"""A network from a file or by its official name, which enlarges images of any kind."""

from __future__ import annotations

from os import PathLike
from typing import Any

from torch import nn

from lightsr_basicsr.checkpoints.files import CheckpointError
from lightsr_basicsr.checkpoints.identify import State
from lightsr_basicsr.checkpoints.identify import load as load_network
from lightsr_basicsr.upscale.upscaler import Upscaler
from lightsr_basicsr.weights.find import find_weights
from lightsr_basicsr.weights.names import WeightsError


def load(source: str | PathLike | State, **arguments: Any) -> nn.Module:
    """Return the network that a checkpoint holds, with its weights, on the CPU, in evaluation mode.

    ``net.upscale(image)`` enlarges an array, an image of Pillow's or a tensor: see :class:`Scale`. Weights that are NaN
    or infinite are loaded with a warning.

    Args:
        source (str | PathLike | Mapping): A ``.pth``, ``.pt`` or ``.safetensors`` file, a name of one in this
            package or the cache such as ``'TinySR_x4'``, or tensors by name, bare or wrapped.
        arguments (Any): Constructor arguments that no tensor shows, such as ``chop=True`` for FDIWN.

    Raises:
        CheckpointError: If the file is missing or cannot be read, or is nearly a network of this package.
        UnknownNetworkError: If it is another network's.
    """
    if isinstance(source, (str, PathLike)):
        try:
            source = find_weights(source)
        except WeightsError as error:
            raise CheckpointError(str(error)) from error
    net = load_network(source, **arguments)
    if net.super_resolves and net.upscale == int(net.upscale):
        net.upscale = Scale(int(net.upscale), net)
    return net


class Scale(int):
    """The scale of a network, a whole number, which is also the function that enlarges images with this network.

    Called with an image and settings of :class:`Upscaler`, it returns the enlarged image, of the same type: see
    :meth:`Upscaler.upscale`. It runs on the device of the network, with the weights that this has at the time.
    """

    def __new__(cls, scale: int, net: nn.Module) -> Scale:
        """Return ``scale`` with a network."""
        made = super().__new__(cls, scale)
        made.net, made.opened = net, None
        return made

    def __call__(self, image: Any, **settings: Any) -> Any:
        """Return the image, enlarged; a keyword that Upscaler does not know is a TypeError."""
        progress = settings.pop("progress", None)
        weights = list(self.net.parameters())
        settings = {"device": str(weights[0].device) if weights else None, **settings}
        known = (settings, [(each.data_ptr(), each._version) for each in weights])
        if self.opened is None or self.opened[0] != known:
            self.opened = known, Upscaler(self.net, **settings)
        return self.opened[1].upscale(image, progress)

    def __reduce__(self) -> tuple:
        return Scale, (int(self), self.net)
