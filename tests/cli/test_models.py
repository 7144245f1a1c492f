"""What `llmplan models` lists, shows and takes in, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmplan.cli.app import main
from llmplan.spec.catalog import Catalog

CONFIG = Path(__file__).parents[2] / "examples" / "local-model" / "config.json"
CATALOG = Catalog()


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["llmplan", "models", *args])
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def test_no_name_is_broken_in_a_narrow_list(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = said(capsys, monkeypatch, "list")
    assert set(CATALOG.names("models")) <= set(out.split())


def test_a_list_is_narrowed_by_pattern_and_family(capsys, monkeypatch):
    _, out, _ = said(capsys, monkeypatch, "list", "Kimi_K2", "-f", "json")
    names = [row["model"] for row in json.loads(out)]
    assert "kimi-k2-thinking" in names
    assert all("kimi-k2" in name for name in names)
    _, out, _ = said(capsys, monkeypatch, "list", "--family", "internlm", "-f", "json")
    assert [row["model"] for row in json.loads(out)] == ["internlm-20b"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "no-such-model"], "no model has 'no-such-model'"),
        (["list", "--family", "qwen33"], "did you mean qwen3"),
        (["show", ""], "model: no name; give one of llmplan models list"),
        (["import", str(CONFIG), "--hf-id", "a/b/c"], "want ORG/NAME"),
        (["import", str(CONFIG), "--hf-id", "a b"], "want ORG/NAME"),
    ],
)
def test_what_is_wrong_is_said(capsys, monkeypatch, args: list[str], words: str):
    code, _, err = said(capsys, monkeypatch, *args)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_folder_and_a_key_given_twice(capsys, monkeypatch, tmp_path):
    code, _, err = said(capsys, monkeypatch, "import", str(tmp_path))
    assert code == 2
    assert "give a model's config.json, or the folder that holds it" in err
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 1, "vocab_size": 2}', "utf-8")
    code, _, err = said(capsys, monkeypatch, "show", str(tmp_path))
    assert code == 2
    assert "'vocab_size' is given twice; keep one" in err
    (tmp_path / "config.json").write_text('{"vocab_size": 1}', "utf-8")
    assert "--model-type llama" in said(capsys, monkeypatch, "show", str(tmp_path))[2]


def test_a_model_without_a_hub_id_has_its_name_once(capsys, monkeypatch):
    _, out, err = said(capsys, monkeypatch, "import", str(CONFIG), "--name", "qwen3-8b")
    assert "note       qwen3-8b hides the shipped model" in err
    assert "hf_id:" in out
    _, out, err = said(capsys, monkeypatch, "show", str(CONFIG))
    title = out.split("\n")[0]
    assert "(" not in title or title.split(" (")[0] != title.split(" (")[1].rstrip(")")


def test_shared_experts_are_as_wide_as_they_are(capsys, monkeypatch):
    _, out, _ = said(capsys, monkeypatch, "show", "gemma-4-26b-a4b")
    assert "MoE 8 of 128 x 704 + 1 shared x 2112" in " ".join(out.split())


def test_checkpoints_that_differ_are_models_of_their_own():
    facts = {
        "zai-org/GLM-4.7-FP8": ("fp8", 202_752),
        "zai-org/GLM-4.7": ("bf16", 202_752),
        "moonshotai/Kimi-K2-Thinking": ("int4", 262_144),
        "moonshotai/Kimi-K2-Instruct-0905": ("fp8", 262_144),
        "moonshotai/Kimi-K2-Instruct": ("fp8", 131_072),
        "Qwen/Qwen2.5-7B": ("bf16", 131_072),
        "Qwen/Qwen2.5-7B-Instruct": ("bf16", 32_768),
        "Qwen/QwQ-32B": ("bf16", 40_960),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": ("bf16", 131_072),
        "mistralai/Mistral-Small-24B-Instruct-2501": ("bf16", 32_768),
        "meta-llama/Llama-2-70b-hf": ("bf16", 4_096),
    }
    for name, (dtype, tokens) in facts.items():
        model = CATALOG.model(name)
        assert (model.weights.dtype, model.max_context_tokens) == (dtype, tokens), name


def test_one_tower_is_counted_whatever_the_format():
    for pair in (("llama-4-scout", "llama-4-scout-fp8"), ("minimax-m3", "minimax-m3-nvfp4")):
        towers = {CATALOG.model(name).vision_parameters for name in pair}
        assert len(towers) == 1
        assert towers != {0}


def test_the_format_in_an_alias_is_that_of_its_file():
    marks = {"fp8": "fp8", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "int4": "int4", "awq": "int4"}
    for name in CATALOG.names("models"):
        model = CATALOG.model(name)
        for said_name in model.aliases:
            for mark, dtype in marks.items():
                if said_name.lower().endswith(mark):
                    assert model.weights.dtype == dtype, said_name
