"""Alike codes learn together: a reparametrisation of the output layer, for training only.

The output rows of an untied decoder are learnt one code at a time. Whether "red" is wanted shows in
one token of an object (its first visible patch; the others copy it), and that patch is one of
hundreds of codes, so the association is found very late. Adding `features(codebook) @ shared` to
the rows lets every code with a similar codebook vector learn from each event. `shared` starts at
zero and is merged into the plain weight on export: the shipped network is unchanged LlamaGen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from scalingar_plugins.models.shapes.generator import Generator

_FREQUENCIES = 112
#: Scale of the features: one AdamW step of `shared` then moves a logit about as far as one step of
#: the row itself.
_SCALE = 1 / 60


def code_features(codebook: Tensor) -> Tensor:
    """Centred code vectors and random Fourier features of them, `[K, code_dim + 112]` float32.

    Linear in the code vector alone, a colour is decodable from 67 % of the patches of a shape that
    the fit has not seen; with the Fourier features, from 82 %.
    """
    generator = torch.Generator().manual_seed(0)
    centred = (codebook - codebook.mean(0)).float().cpu()
    directions = torch.randn(codebook.shape[1], _FREQUENCIES, generator=generator)
    phases = 2 * torch.pi * torch.rand(_FREQUENCIES, generator=generator)
    waves = 0.7 * torch.cos(centred @ directions + phases)
    return _SCALE * torch.cat([2 * centred, waves], dim=1)


class SharedRows(nn.Module):
    """`weight + features @ shared`, as a parametrization of the output layer."""

    features: Tensor

    def __init__(self, features: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.shared = nn.Parameter(torch.zeros(features.shape[1], dim))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.addmm(weight, self.features, self.shared)


def share(generator: Generator, codebook: Tensor) -> None:
    """Reparametrise the output layer in place; changes no output yet."""
    rows = SharedRows(code_features(codebook), generator.config.dim)
    parametrize.register_parametrization(generator.decoder.output, "weight", rows)


def merged(generator: Generator) -> Generator:
    """A copy with a plain output weight (a copied parametrization would share its class)."""
    rows = "decoder.output.parametrizations.weight"
    state = {k: v for k, v in generator.state_dict().items() if not k.startswith(rows)}
    state["decoder.output.weight"] = generator.decoder.output.weight.detach().clone()
    plain = Generator(generator.config)
    plain.load_state_dict(state)
    return plain
