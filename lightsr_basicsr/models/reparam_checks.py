"""Checks for option files that train a wide network to be deployed."""

from __future__ import annotations

from lightsr_basicsr.archs.reparam import has_branches
from lightsr_basicsr.models.contract import LossDictContract, Networks, Options, Problems


class ReparamContract(LossDictContract):
    """The contract of ``ReparamModel`` and of all that derive from it."""

    def deploys(self, options: Options) -> bool:
        """Return whether a run with these options validates and saves the deployed form."""
        return self.model.deploys(options)

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield a network that has nothing to reparameterize."""
        yield from super().find_problems(options, networks)
        net = networks.get("network_g")
        if net is not None and self.deploys(options) and not has_branches(net):
            otherwise = "model_type: LossDictModel" if self.model.reparam_by_default else "train.reparam: false"
            text = (
                f"{type(net).__name__} has no reparameterizable blocks, or is built in its deployed form: remove "
                "`deploy: true`, wrap it ({type: Reparameterized, network: {...}}), or train it as it is, with "
                f"{otherwise}"
            )
            yield "network_g", text
