"""The architectures of dense layers with attention, by `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmplan.spec.config_family import Family

_LLAMA = Family(name="llama", kv_heads_needed=False)
MISTRAL = Family(name="mistral", window="all")
QWEN2 = Family(name="qwen2", qkv_bias=True, output_bias=False, window="switched")
QWEN3 = Family(name="qwen3", qk_norm="per_head", head_dim_needed=True, window="switched")
GEMMA = Family(name="gemma", tied=True, head_dim_needed=True)
_OLMO2 = Family(name="olmo2", qk_norm="full", kv_heads_needed=False)
_GPT2 = Family(
    name="gpt2",
    kv_heads_needed=False,
    attention_bias=True,
    ffn_bias=True,
    plain_ffn=True,
    norm_bias=True,
    positions=0,
    tied=True,
)
_PHI = replace(_GPT2, name="phi", norms_per_layer=1, head_bias=True, positions=None, tied=False)

DENSE: Mapping[str, Family] = {
    "llama": _LLAMA,
    "internlm2": replace(_LLAMA, name="internlm2"),
    "cohere": Family(
        name="cohere", kv_heads_needed=False, norms_per_layer=1, tied=True, qk_norm="full", use_qk_norm=False
    ),
    "phi3": Family(name="phi3", kv_heads_needed=False, window="all"),
    "phi3_v": Family(name="phi3", kv_heads_needed=False, window="all"),
    "mistral": MISTRAL,
    "ministral3": replace(MISTRAL, head_dim_needed=True),
    "qwen": Family(
        name="qwen", kv_heads_needed=False, qkv_bias=True, output_bias=False, wide_ffn=2, understands="kv_channels"
    ),
    "qwen2": QWEN2,
    "mimo": replace(QWEN2, name="mimo"),
    "qwen3": QWEN3,
    "qwen3_vl_text": QWEN3,
    "gemma": GEMMA,
    "gemma2": replace(GEMMA, name="gemma2", norms_per_layer=4, window="pattern", full_every=2),
    "gemma3_text": replace(
        GEMMA,
        name="gemma3",
        norms_per_layer=4,
        qk_norm="per_head",
        window="pattern",
        full_every=6,
        defaults={  # Gemma3TextConfig of transformers: the file of gemma-3-4b-it names none of them
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
        },
    ),
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, name="olmo3", window="pattern", full_every=4),
    "nemotron-nas": Family(name="nemotron-nas", mixers="nas", ffns="nas", understands="block_configs"),
    "gpt2": _GPT2,
    "opt": replace(_GPT2, name="opt", positions=2),
    "bloom": replace(
        _GPT2, name="bloom", positions=None, embedding_norm=True, defaults={"max_position_embeddings": 2048}
    ),
    "gptj": replace(_PHI, name="gptj", attention_bias=False),
    "phi": _PHI,
    "phi-msft": _PHI,
    "falcon": replace(
        _GPT2,
        name="falcon",
        mixers="falcon",
        attention_bias=False,
        ffn_bias=False,
        norms_per_layer=1,
        positions=None,
        understands=r"multi_query|new_decoder_architecture|num_ln_in_parallel_attn",
    ),
    "starcoder2": replace(_GPT2, name="starcoder2", window="all", positions=None),
    "stablelm": Family(name="stablelm", kv_heads_needed=False, output_bias=False, norm_bias=True),
    "chatglm": Family(
        name="chatglm",
        mixers="chatglm",
        qkv_bias=True,
        output_bias=False,
        understands=r"multi_query\w*|kv_channels",
    ),
}
