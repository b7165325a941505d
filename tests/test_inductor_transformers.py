"""Models that nobody here wrote: an encoder, a decoder and an encoder-decoder of transformers.

Random weights, no dropout: two steps of training lose the same under Inductor with our lookups as
without.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embed_ops.inductor import backend

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def bert() -> nn.Module:
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=97,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def gpt2() -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=97,
            n_embd=32,
            n_layer=1,
            n_head=2,
            n_positions=16,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def t5() -> nn.Module:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=97,
            d_model=32,
            d_kv=16,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
    )


def two_steps(architecture: str, compiler: object, device: str) -> list[float]:
    torch.manual_seed(0)
    model = {"bert": bert, "gpt2": gpt2, "t5": t5}[architecture]().to(device)
    tokens = torch.randint(1, 97, (2, 8), device=device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    compiled = torch.compile(model, backend=compiler)
    losses = []
    for _ in range(2):
        loss = compiled(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
def test_two_steps(architecture: str, device: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = two_steps(architecture, "inductor", device)
    torch.compiler.reset()
    caplog.set_level("INFO", "embed_ops")
    assert two_steps(architecture, backend, device) == pytest.approx(expected, rel=1e-5)
    assert len(caplog.messages) >= 2
    assert not [line for line in caplog.messages if "unchanged" in line]
