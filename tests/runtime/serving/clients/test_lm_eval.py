"""lm-eval's local-completions: log likelihoods of choices, and greedy answers, as the model's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from tests.support.http_server import Running

pytest.importorskip("lm_eval")
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {kind}
doc_to_text: "{{{{text}}}}"
target_delimiter: ""
{more}
metadata:
  version: 1
"""
CHOICES = 'doc_to_choice: "{{choices}}"\ndoc_to_target: "{{right}}"\nmetric_list:\n  - metric: acc'
EXACT = """\
doc_to_target: "{{key}}"
generation_kwargs:
  until: ["."]
  max_gen_toks: 8
metric_list:
  - metric: exact_match"""
NAMES = ("finch", "raven", "heron", "stork")


def _documents() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, name in enumerate(NAMES):
        keys = [str(4821 + 137 * (number + other)) for other in range(3)]
        text = f"The pass key of {name} is {keys[0]}. Answer: The pass key of {name} is"
        choices = [f" {key}" for key in keys]
        found.append({"text": text, "choices": choices, "right": 0, "key": f" {keys[0]}"})
    return found


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of two tasks over local data."""
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in _documents()))
    kinds = {"needle_choice": ("multiple_choice", CHOICES), "needle_key": ("generate_until", EXACT)}
    for name, (kind, more) in kinds.items():
        text = TASK.format(name=name, data=data, kind=kind, more=more)
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("tokenizer", ["huggingface", "remote"])
def test_local_completions(
    served: Running, needle: Path, tasks: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch
):
    """Prompts as ids, one token, echo and logprobs: each choice's sum is the model's own."""
    if tokenizer == "huggingface":
        pytest.importorskip("transformers")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tasks / "cache"))
    arguments: dict[str, Any] = {
        "model": "needle",
        "base_url": f"{served.url}/v1/completions",
        "tokenizer_backend": tokenizer,
        "num_concurrent": 2,
        "max_retries": 1,
        "max_length": 2048,
        "batch_size": 3,
        "eos_string": "</s>",
    }
    if tokenizer == "huggingface":
        arguments["tokenizer"] = str(needle)
    else:
        arguments["auth_token"] = "the-key"
    found = simple_evaluate(
        model="local-completions",
        model_args=arguments,
        tasks=["needle_choice", "needle_key"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    assert found is not None
    assert found["results"]["needle_key"]["exact_match,none"] == 1.0
    assert found["results"]["needle_choice"]["acc,none"] == 1.0
    samples = sorted(found["samples"]["needle_choice"], key=lambda sample: sample["doc_id"])
    got = [[pair[0][0] for pair in sample["resps"]] for sample in samples]
    wanted = [list(_likelihoods(needle, each)) for each in _documents()]
    np.testing.assert_allclose(np.array(got, float), wanted, atol=2e-3)
    greedy = [[bool(pair[0][1]) for pair in sample["resps"]] for sample in samples]
    assert all(row == [True, False, False] for row in greedy)


def _likelihoods(path: Path, document: dict[str, Any]) -> Any:
    """The log likelihood of each choice, of the model alone."""
    with sala_compile.load(path) as model:
        before = model.tokenizer.encode(document["text"], special=False)
        for choice in document["choices"]:
            ids = model.tokenizer.encode(document["text"] + choice, special=False)
            assert ids[: len(before)] == before
            rows = model.logits(ids).astype(np.float64)
            rows -= rows.max(1, keepdims=True)
            logs = rows - np.log(np.exp(rows).sum(1, keepdims=True))
            yield sum(logs[i - 1, ids[i]] for i in range(len(before), len(ids)))
