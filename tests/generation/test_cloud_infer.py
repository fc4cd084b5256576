"""``python -m QEfficient.cloud.infer``: the vendor's flags and their defaults, and what they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.auto import causal_lm
from QEfficient.cloud import infer
from tests.generation.decoder_repos import decoder_repo
from tests.sdk import make_sdk

NEEDED = ("--model-name", "some/model", "--num-cores", "16", "--prompt", "one|another")


class Recorded:
    """In the place of the Auto class: what it is called with."""

    calls: dict[str, dict[str, Any]]

    def __init__(self) -> None:
        type(self).calls = {}

    @classmethod
    def from_pretrained(cls, name: str, **keywords: Any) -> Recorded:
        made = cls()
        cls.calls["load"] = {"name": name, **keywords}
        return made

    def compile(self, **keywords: Any) -> None:
        self.calls["compile"] = keywords

    def generate(self, **keywords: Any) -> str:
        self.calls["generate"] = keywords
        return "times"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    monkeypatch.setattr(causal_lm, "QEFFAutoModelForCausalLM", Recorded)
    return Recorded


def test_the_vendor_s_defaults(recorded: type[Recorded], capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(NEEDED) == 0
    assert recorded.calls == {
        "load": {"name": "some/model", "continuous_batching": False, "qaic_config": None},
        "compile": {
            "batch_size": 1,
            "prefill_seq_len": 32,
            "ctx_len": 128,
            "comp_ctx_lengths_prefill": None,
            "comp_ctx_lengths_decode": None,
            "num_cores": 16,
            "num_devices": 1,
            "mxfp6_matmul": False,
            "mxint8_kv_cache": False,
            "use_onnx_subfunctions": False,
            "mos": 1,
            "aic_enable_depth_first": False,
            "allow_mxint8_mdp_io": False,
        },
        "generate": {
            "prompts": ["one", "another"],
            "device_id": None,
            "prompts_txt_file_path": None,
            "generation_len": None,
        },
    }
    assert capsys.readouterr().out == "\ntimes\n"


FLAGS: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {
    ("--local-model-dir", "folder"): ("load", {"name": "folder"}),
    ("--cache-dir", "c_d", "--hf-token", "t"): ("load", {"cache_dir": "c_d", "token": "t"}),
    ("--trust_remote_code",): ("load", {"trust_remote_code": True}),
    ("--ccl-enabled",): ("load", {"qaic_config": {"ccl_enabled": True}}),
    ("--full-batch-size", "4"): ("load", {"continuous_batching": True}),
    ("--full_batch_size", "3"): ("compile", {"full_batch_size": 3}),
    ("--batch-size", "2", "--prompt-len", "8", "--ctx-len=64"): (
        "compile",
        {"batch_size": 2, "prefill_seq_len": 8, "ctx_len": 64},
    ),
    ("--mxfp6", "--mxint8"): ("compile", {"mxfp6_matmul": True, "mxint8_kv_cache": True}),
    ("--mxfp6_matmul", "--mxint8-kv-cache"): ("compile", {"mxfp6_matmul": True, "mxint8_kv_cache": True}),
    ("--aic-enable-depth-first", "--mos", "-1"): ("compile", {"aic_enable_depth_first": True, "mos": -1}),
    ("--allow-mxint8-mdp-io", "--dynamo"): ("compile", {"allow_mxint8_mdp_io": True}),
    ("--use-onnx-subfunctions",): ("compile", {"use_onnx_subfunctions": True}),
    ("--comp-ctx-lengths-prefill", "64,128"): ("compile", {"comp_ctx_lengths_prefill": [64, 128]}),
    ("--comp-ctx-lengths-decode", "64,128"): ("compile", {"comp_ctx_lengths_decode": [64, 128]}),
    ("--device-group", "[0,1]"): ("compile", {"num_devices": 2}),
    ("--device_group", "[2, 3]"): ("generate", {"device_id": [2, 3]}),
    ("--generation-len", "9"): ("generate", {"generation_len": 9}),
    # what is not known goes to the compiler
    ("--io-crc", "--mdts-mos", "2", "--stats_level=70"): (
        "compile",
        {"io_crc": True, "mdts_mos": 2, "stats_level": 70},
    ),
    ("--sdp-cluster-sizes", "4,4", "--combine-inputs", "False"): (
        "compile",
        {"sdp_cluster_sizes": [4, 4], "combine_inputs": False},
    ),
    ("--aic-hw-version", "2.0", "--percentile-calibration-value", "99.5"): (
        "compile",
        {"aic_hw_version": "2.0", "percentile_calibration_value": 99.5},
    ),
    ("--backend", "emulator", "--num-devices", "4"): ("compile", {"backend": "emulator", "num_devices": 4}),
}


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_a_flag_arrives(recorded: type[Recorded], flags: tuple[str, ...]) -> None:
    where, wanted = FLAGS[flags]
    assert infer.main([*NEEDED, *flags]) == 0
    found = recorded.calls[where]
    assert {name: found[name] for name in wanted} == wanted


def test_slots_leave_the_rows_out(recorded: type[Recorded]) -> None:
    assert infer.main([*NEEDED, "--full-batch-size", "3"]) == 0
    assert "batch_size" not in recorded.calls["compile"]


WRONG: dict[tuple[str, ...], str] = {
    ("--num-cores", "16", "--prompt", "a"): "--model-name",
    ("--model-name", "m", "--prompt", "a"): "--num-cores",
    ("--model-name", "m", "--num-cores", "16"): "one of --prompt and --prompts-txt-file-path",
    (*NEEDED, "--prompts-txt-file-path", "f"): "one of --prompt and --prompts-txt-file-path",
    (*NEEDED, "--num-cores", "many"): "invalid int value: 'many'",
    (*NEEDED, "--device-group", "[a]"): "--device-group",
    (*NEEDED, "stray"): "'stray' stands behind no flag",
    (*NEEDED, "--mdts-mos", "2", "stray"): "'stray' stands behind no flag",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_flags_are_one_line_and_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        infer.main(words)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.count("\n") == 1
    assert WRONG[words] in shown.err


# ---------------------------------------------------------------------------------------------- over a tiny model


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder_repo(tmp_path_factory.mktemp("repo") / "tiny")


REFUSED: dict[tuple[str, ...], str] = {
    ("--enable-qnn",): "--enable-qnn is not taken",
    ("--enable_qnn", "config.json"): "--enable-qnn is not taken",
    ("--ccl-enabled",): "ccl_enabled is not taken",
    ("--comp-ctx-lengths-decode", "64,128"): "comp_ctx_lengths_decode is not taken",
    ("--mots", "3"): "compile knows no option 'mots'",
    ("--model-name", "/no/such/folder"): "/no/such/folder",
}


@pytest.mark.parametrize("flags", REFUSED, ids=" ".join)
def test_what_is_refused_by_name(repo: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(["--model-name", str(repo), "--num-cores", "16", "--prompt", "a", *flags]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert REFUSED[flags] in shown


@pytest.mark.slow
def test_it_answers_as_the_class_does(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    words = ["--model-name", str(repo), "--num-cores", "16", "--generation-len", "6", "--full-batch-size", "2"]
    words += ["--prompt", "A cup|Rain, rain", "--backend", "onnxruntime", "--verify", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "QEfficient.cloud.infer", *words],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = QEFFAutoModelForCausalLM.from_pretrained(repo, continuous_batching=True)
    model.compile(
        ctx_len=128, prefill_seq_len=32, full_batch_size=2, num_cores=16, mos=1, backend="onnxruntime", verify="off"
    )
    prompts = ["A cup", "Rain, rain"]
    texts = model.generate(prompts=prompts, generation_len=6, stream=False).generated_texts
    model.close()
    for prompt, text in zip(prompts, texts, strict=True):
        assert f"\nPrompt : {prompt}\nCompletion :{text}\n" in done.stdout
    assert "Decode is=" in done.stdout


@pytest.mark.slow
def test_it_runs_on_the_card(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", devices=2).root))
    file = tmp_path / "prompts.txt"
    file.write_text("A cup\nRain\nx\n")
    words = ["--model-name", str(repo), "--num-cores", "16", "--generation-len", "4", "--batch-size", "2"]
    words += ["--prompts-txt-file-path", str(file), "--device-group", "[1]", "--backend", "qaic", "--verify", "off"]
    assert infer.main(words) == 0
    shown = capsys.readouterr().out
    places = [shown.index(f"\nPrompt : {prompt}\nCompletion :") for prompt in ("A cup", "Rain", "x")]
    assert places == sorted(places)
    assert "Decode is=" in shown
