"""The embedded model behind the framework's protocol."""

from __future__ import annotations

import pytest
import torch

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.shapes.adapter import load
from scalingar_plugins.models.shapes.generator import Generator
from scalingar_plugins.models.shapes.sharing import merged, share
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.train import GeneratorRun
from scalingar_plugins.models.shapes.weights import default_folder, load_generator, load_tokenizer


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt("a blorb"), "blorb"),
        (Prompt(""), "no word"),
        (Prompt("a circle", negative="a square"), "no negative"),
        (Prompt("a circle", class_id=3), "no class"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_a_users_error(prompt: Prompt, says: str) -> None:
    """The command line prints these alone and exits with 2."""
    with pytest.raises(ScalingarError, match=says):
        load().encode([prompt])


def test_sharing_output_rows_changes_nothing_until_it_is_trained_and_merges_exactly() -> None:
    generator = Generator().eval()
    tokens = torch.randint(0, 1024, (2, 144), generator=torch.Generator().manual_seed(0))
    ids = prompt_ids(["a circle", "two red squares"])
    codebook = torch.nn.functional.normalize(torch.randn(Tokenizer().codebook.shape), dim=1)
    with torch.no_grad():
        generator.decoder.output.weight.normal_(0.0, 0.05)
        before = generator(ids, tokens)
        share(generator, codebook)
        assert torch.equal(generator(ids, tokens), before)
        rows = generator.decoder.output.parametrizations.weight[0]
        rows.shared.normal_()
        trained = generator(ids, tokens)
        assert not torch.allclose(trained, before)
        plain = merged(generator)
        assert torch.allclose(plain(ids, tokens), trained, atol=1e-5)
    assert set(plain.state_dict()) == set(Generator().state_dict())


def test_shipped_weights_can_be_trained_further() -> None:
    folder = default_folder()
    codebook = load_tokenizer(folder).codebook
    run = GeneratorRun.from_weights(folder, codebook, 0, torch.device("cpu"))
    assert run.images > 0
    ids, tokens = prompt_ids(["a circle"]), torch.zeros(1, 144, dtype=torch.int64)
    with torch.no_grad():
        for each in (run.generator, run.average):
            torch.testing.assert_close(each(ids, tokens), load_generator(folder)(ids, tokens))
