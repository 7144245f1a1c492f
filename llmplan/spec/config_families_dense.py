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

_PHI3 = Family(name="phi3", kv_heads_needed=False, window="all", biases=())
_GLM4 = Family(name="glm4", head_dim_needed=True, attention_bias=True, output_bias=False, norms_per_layer=4)

DENSE: Mapping[str, Family] = {
    "llama": _LLAMA,
    "internlm": replace(_LLAMA, name="internlm"),
    "internlm2": replace(_LLAMA, name="internlm2"),
    "cohere": Family(
        name="cohere", kv_heads_needed=False, norms_per_layer=1, tied=True, qk_norm="full", use_qk_norm=False
    ),
    "phi3": _PHI3,
    "phi3_v": _PHI3,
    "phi4mm": replace(_PHI3, name="phi4-multimodal"),
    "phi4_multimodal": replace(_PHI3, name="phi4-multimodal"),
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
        defaults={"max_position_embeddings": 2048},  # FalconConfig of transformers: Falcon's own files leave it out
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
    "internlm3": replace(_LLAMA, name="internlm3"),
    "qwen2_vl": QWEN2,
    "qwen2_vl_text": QWEN2,
    "qwen2_5_vl": QWEN2,
    "qwen2_5_vl_text": QWEN2,
    "ministral": replace(MISTRAL, head_dim_needed=True),
    "cwm": Family(name="cwm", head_dim_needed=True, window="pattern", full_every=4),
    "granite": replace(_LLAMA, name="granite"),
    "arcee": replace(_LLAMA, name="arcee", plain_ffn=True),
    "helium": replace(_LLAMA, name="helium", head_dim_needed=True, output_bias=False),
    "seed_oss": Family(name="seed-oss", head_dim_needed=True, attention_bias=True, output_bias=False),
    "smollm3": Family(name="smollm3", tied=True, window="switched", understands=r"no_rope_layer\w*"),
    "ernie4_5": Family(name="ernie4.5", head_dim_needed=True, tied=True),
    "hunyuan_v1_dense": Family(name="hunyuan", head_dim_needed=True, kv_heads_needed=False, qk_norm="per_head"),
    "exaone4": Family(name="exaone4", qk_norm="per_head", window="pattern", full_every=4),
    "apertus": Family(name="apertus", qk_norm="per_head", plain_ffn=True, activation_weights=2),
    "nemotron": replace(_LLAMA, name="nemotron", plain_ffn=True, norm_bias=True),
    "jais2": Family(name="jais2", attention_bias=True, ffn_bias=True, plain_ffn=True, norm_bias=True),
    "glm": Family(name="glm", head_dim_needed=True, attention_bias=True, output_bias=False),
    "glm4": _GLM4,
    "glm4v": replace(_GLM4, name="glm4v", head_dim_needed=False),
    "glm4v_text": replace(_GLM4, name="glm4v", head_dim_needed=False),
    "olmo": replace(_LLAMA, name="olmo", norm_weights=False),
    "cohere2": Family(
        name="cohere2", kv_heads_needed=False, norms_per_layer=1, tied=True, window="pattern", full_every=4
    ),
    "vaultgemma": replace(GEMMA, name="vaultgemma", window="pattern", full_every=2),
    "gpt_neox": replace(_GPT2, name="gpt-neox", positions=None, tied=False, parallel_norms=2),
    "gpt_bigcode": replace(_GPT2, name="gpt-bigcode", mixers="falcon", understands="multi_query"),
    "codegen": replace(_PHI, name="codegen", attention_bias=False),
    "mpt": replace(
        _GPT2,
        name="mpt",
        mixers="mpt",
        attention_bias=False,
        ffn_bias=False,
        norm_bias=False,
        positions=None,
        biases=(),
        understands="attn_config",
    ),
}
"""Architectures of dense layers, by `model_type`."""
