"""``QEFFTransformersBase``: what every QEff Auto class can do. It chains the stages and holds what they returned."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from QEfficient import hub
from QEfficient import program as programs
from QEfficient.auto import request
from QEfficient.auto.origin import ModuleOrigin, Origin, RepoOrigin
from QEfficient.auto.pooling import Head
from QEfficient.auto.ready import Ready
from QEfficient.auto.saved import saved_program
from QEfficient.auto.stages import Recipe, adopt_onnx, compile_stage, copy_onnx, export_stage, model_limit, text_facts
from QEfficient.backends import registry
from QEfficient.backends.base import Arrays
from QEfficient.cache import Cache
from QEfficient.errors import UsageError
from QEfficient.records import Json, OnnxModel, Program, TextFacts

if TYPE_CHECKING:
    from torch import nn

HUB_KEYWORDS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


class QEFFTransformersBase:
    """Loads, represents and manages one model on its road to a program. Use a subclass, such as ``QEFFAutoModel``.

    After ``compile``, running is safe from any number of threads; ``export`` and ``compile`` hold the object's lock
    and put the new program in place in one assignment.

    Args:
        model: A HuggingFace model that is already loaded.
    """

    _auto_class: ClassVar[str] = "AutoModel"
    _task: ClassVar[str] = "feature-extraction"
    _output: ClassVar[str] = "output"

    def __init__(self, model: nn.Module) -> None:
        self._begin(ModuleOrigin(model))

    def _begin(self, origin: Origin | None, ready: Ready | None = None) -> None:
        self._origin, self._ready = origin, ready
        self._head = Head()
        self._onnx: OnnxModel | None = None
        self._max_seq_length: int | None = None
        self._lock = threading.RLock()

    @classmethod
    def _load(cls, id_or_path: str | Path, args: tuple[Any, ...], keywords: dict[str, Any]) -> Self:
        """Resolves files (and downloads them if need be); reads no weights."""
        request.path_like("pretrained_model_name_or_path", id_or_path, "a hub id or the path of a folder")
        found = hub.resolve(id_or_path, **{name: keywords.pop(name) for name in HUB_KEYWORDS if name in keywords})
        self = cls.__new__(cls)
        if hub.is_program(found.folder):
            self._begin(None, saved_program(found, keywords))
        else:
            self._begin(RepoOrigin(found, cls._auto_class, args, keywords))
        return self

    # ------------------------------------------------------------------------------------ what it is

    def _need_origin(self, what: str) -> Origin:
        if self._origin is None:
            raise UsageError(
                f"{what} needs the torch model, and a saved program has none.",
                got=str(self._need_ready().program.path),
                allowed="generate, encode, save_pretrained, config, device_report",
                do="load the original model by name with from_pretrained",
            )
        return self._origin

    def _need_ready(self) -> Ready:
        if self._ready is None:
            raise UsageError(
                "The model is not compiled yet.",
                got=self.model_name,
                allowed="a compiled model, or generate(…, runtime_ai100=False) for the torch model",
                do="call compile() first",
            )
        return self._ready

    @property
    def model(self) -> nn.Module:
        """The HuggingFace model; its weights are loaded at the first access.

        Whoever holds it may change it, so from here on every ``compile`` hashes its tensors.
        """
        origin = self._need_origin("model")
        if isinstance(origin, RepoOrigin):
            origin.handed_out = True
        return origin.module()

    @property
    def config(self) -> Any:
        """The transformers config object. Also on a saved program; reads no weights."""
        from transformers import AutoConfig

        if self._origin is None:
            program = self._need_ready().program
            return AutoConfig.for_model(**self._saved_config(program))
        if isinstance(self._origin, ModuleOrigin) or self._origin.handed_out:
            return self._origin.module().config
        keywords = {key: self._origin.keywords[key] for key in ("trust_remote_code",) if key in self._origin.keywords}
        if hasattr(self._origin.keywords.get("config"), "to_dict"):
            return self._origin.keywords["config"]
        config = AutoConfig.from_pretrained(str(self._origin.folder), **keywords)
        config.update({k: v for k, v in self._origin.keywords.items() if hasattr(config, k)})
        return config

    @property
    def get_model_config(self) -> dict[str, Json]:
        """The config as a dict."""
        if self._origin is None:
            return self._saved_config(self._need_ready().program)
        return self._origin.config()

    @staticmethod
    def _saved_config(program: Program) -> dict[str, Json]:
        return hub.read_config(program.path)

    @property
    def model_name(self) -> str:
        """Class name of the wrapped model, ``"BertModel"``."""
        if self._origin is None:
            facts = self._need_ready().program.manifest.model
            return facts.model_class if facts else "program"
        if isinstance(self._origin, ModuleOrigin):
            return type(self._origin.module()).__name__
        config = self._origin.config()
        return str((config.get("architectures") or [config.get("model_type", "model")])[0])

    @property
    def device(self) -> Any:
        """``torch.device("cpu")``: where the torch model lives. ``device_report()`` tells where the program runs."""
        import torch

        return torch.device("cpu")

    @property
    def dtype(self) -> Any:
        """The torch dtype of the weights; float32 unless asked otherwise."""
        import torch

        if self._origin is None:
            return torch.float32
        if isinstance(self._origin, ModuleOrigin):
            return next(self._origin.module().parameters()).dtype
        name = str(self._origin.keywords.get("dtype", "float32"))
        if name == "auto":
            config = self._origin.config()
            name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        return getattr(torch, name)

    def eval(self) -> Self:
        """Returns itself: programs are always in eval mode."""
        return self

    def to(self, device: object) -> Self:
        """Returns itself for the CPU.

        Raises:
            UsageError: Any other device.
        """
        if str(device) not in ("cpu", "cpu:0"):
            raise UsageError(
                "The torch model is only the source of the export; it stays on the CPU.",
                got=f"to({device!r})",
                allowed='to("cpu")',
                do="choose where the program runs with compile(backend=…) and generate(device_ids=…)",
            )
        return self

    def __repr__(self) -> str:
        state = f"program={str(self.program_path)!r}" if self._ready else "not compiled"
        name = self._origin.name if self._origin else self.model_name
        return f"{type(self).__name__}({name!r}, {state})"

    # ------------------------------------------------------------------------------------ paths

    @property
    def onnx_path(self) -> str | None:
        """The exported graph, once there is one."""
        if self._onnx is not None:
            return str(self._onnx.path)
        return str(self._ready.program.onnx_path) if self._ready else None

    @property
    def program_path(self) -> str | None:
        """The program's folder, once compiled."""
        return str(self._ready.program.path) if self._ready else None

    @property
    def qpc_path(self) -> str | None:
        """On the card the folder with ``programqpc.bin``; on the host the program's folder."""
        if self._ready is None:
            return None
        return str(self._ready.program.binary_path or self._ready.program.path)

    @property
    def qpc_session(self) -> Any:
        """The open session of the program."""
        with self._need_ready().session() as session:
            return session

    # ------------------------------------------------------------------------------------ export and compile

    @property
    def max_seq_length(self) -> int:
        """The most tokens of a text that ``encode`` keeps, special tokens included. Settable."""
        if self._max_seq_length is not None:
            return self._max_seq_length
        return self._ready.text.max_length if self._ready and self._origin is None else self._text().max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        if self._origin is not None:
            limit = model_limit(self._origin)
        else:
            limit = self._need_ready().program.manifest.buckets[-1].length
        self._max_seq_length = request.sequence_limit(value, limit)

    def _text(self) -> TextFacts:
        import dataclasses

        origin = self._need_origin("text facts")
        facts = text_facts(origin, model_limit(origin))
        return facts if self._max_seq_length is None else dataclasses.replace(facts, max_length=self._max_seq_length)

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        origin = self._need_origin("export or compile")
        return Recipe(origin, self._head, self._task, (self._output,), functions, verify)

    def export(
        self, export_dir: str | Path | None = None, *, use_onnx_subfunctions: bool = False, verify: str = "on"
    ) -> str:
        """Exports the model to ONNX, or finds the same export in the cache.

        Args:
            export_dir: Parent folder for a copy; left out, the graph stays in the cache (``QEFF_HOME``).
            use_onnx_subfunctions: Write repeated layers as ONNX functions; the numbers stay the same.
            verify: ``"on"`` checks the graph's numbers against HuggingFace float32; ``"off"`` is recorded.

        Returns:
            Path of the ``.onnx`` file: opset 18, dims ``batch_size`` and ``seq_len``, external data beside it.

        Raises:
            ExportError: The exporter refused the model.
            NumericsError: The weights hold NaN or Inf, or the graph differs from HuggingFace.
        """
        recipe = self._recipe(use_onnx_subfunctions, request.verify_mode(verify))
        with self._lock:
            self._onnx = export_stage(recipe, Cache())
            if export_dir is not None:
                self._onnx = copy_onnx(self._onnx, Path(export_dir))
            return str(self._onnx.path)

    def compile(
        self,
        onnx_path: str | Path | None = None,
        compile_dir: str | Path | None = None,
        *,
        seq_len: int | Sequence[int] | None = None,
        batch_size: int = 1,
        num_devices: int = 1,
        num_cores: int = 16,
        mxfp6_matmul: bool = False,
        use_onnx_subfunctions: bool = False,
        backend: str | None = None,
        compute: str | None = None,
        strict: bool = False,
        verify: str = "on",
        **compiler_options: Any,
    ) -> str:
        """Compiles the model, or finds the same program in the cache.

        Args:
            onnx_path: A graph to compile instead of this model's own export.
            compile_dir: Parent folder for a copy of the program; left out, it stays in the cache (``QEFF_HOME``).
            seq_len: Tokens of a bucket, or a list of them. Left out: 32, 64, … up to the model's own limit.
            batch_size: Rows of a bucket, where shapes are fixed.
            num_devices: Devices (SoCs) that one program spans.
            num_cores: AI cores (NSP) of an instance on the card; the host ignores it.
            mxfp6_matmul: Store matrix-multiply weights as MXFP6 on the card.
            use_onnx_subfunctions: Export repeated layers as ONNX functions and keep them on the card.
            backend: ``"onnxruntime"``, ``"qaic"`` or ``"auto"`` (the default; ``QEFF_BACKEND`` sets another).
            compute: Precision of the arithmetic; left out, the backend's default (fp32 on the host, fp16 on the card).
            strict: On the host, run exactly the compiled shapes, as a card does.
            verify: ``"on"`` checks the exported graph's numbers against HuggingFace float32; ``"off"`` is recorded.
            **compiler_options: The compiler's documented flags with underscores (``mos=1``); ``raw_compiler_flags=[…]``
                forces others.

        Returns:
            On the card the folder with ``programqpc.bin``; on the host the program's folder.

        Raises:
            OptionError: An unknown keyword or a value out of range.
            BackendUnavailableError: What was asked for can't be had here.
            CompileError: The compiler failed; its output is kept.
        """
        request.refuse_later(compiler_options)
        request.path_like("onnx_path", onnx_path or "", "the path of a .onnx file; lengths are seq_len=")
        recipe = self._recipe(use_onnx_subfunctions, request.verify_mode(verify))
        chosen, reason = registry.choose(backend)
        options = dict(compiler_options)
        options |= {
            name: True for name, on in (("mxfp6_matmul", mxfp6_matmul), ("sub_functions", use_onnx_subfunctions)) if on
        }
        order = request.order(
            chosen,
            text=self._text(),
            limit=model_limit(recipe.origin),
            seq_len=seq_len,
            batch_size=batch_size,
            num_devices=num_devices,
            num_cores=num_cores,
            compute=compute,
            options=options,
        )
        with self._lock:
            cache = Cache()
            graph = None
            if onnx_path is not None:
                graph = adopt_onnx(Path(onnx_path), recipe.origin.name, order.buckets, cache)
            program = compile_stage(recipe, order, cache, graph)
            if compile_dir is not None:
                program = programs.save(program, Path(compile_dir) / program.path.name)
            self._put_in_place(Ready(program, chosen, reason, strict=strict))
        return str(self.qpc_path)

    def _put_in_place(self, new: Ready) -> None:
        old = self._ready
        if old is not None and (old.program, old.strict) == (new.program, new.strict):
            return  # the same program: its open session goes on
        self._ready = new
        if old is not None:
            old.retire()

    # ------------------------------------------------------------------------------------ run

    def generate(
        self,
        inputs: Mapping[str, Any],
        device_ids: Sequence[int] | None = None,
        runtime_ai100: bool = True,
        write_io: bool = False,
        dtype: Any = None,
    ) -> Arrays:
        """Runs tokenised inputs.

        Args:
            inputs: ``input_ids`` and ``attention_mask`` (ones when left out), ``token_type_ids`` where the model has
                them (zeros when left out): integers, ``(rows, length)``; tensors, arrays or lists.
            device_ids: Devices of the card, a multiple of ``num_devices``; ``None`` lets the runtime choose.
            runtime_ai100: False runs the torch model instead of the program.
            write_io: Also write every inference's arrays and the JSON that the SDK's runner reads, into a new folder
                of ``io_dir`` in the working directory.
            dtype: A float dtype for the result; float32 when left out.

        Returns:
            ``{"output": array}``: ``(rows, dim)`` when pooled, else ``(rows, length, dim)`` with exactly 0.0 beyond
            a row's last real token.

        Raises:
            InputError: A name, dtype, shape, mask or length does not fit.
            DeviceError: The device failed.
        """
        wanted = request.result_dtype(dtype)
        if not runtime_ai100:
            arrays = self._generate_torch(inputs)
        else:
            ready = self._need_ready()
            rows = request.rows(inputs, ready.program.manifest)
            files = request.inference_files() if write_io else None
            arrays = ready.run(rows, device_ids, record=files.add if files else None)
            if files:
                files.close()
        return {name: array.astype(wanted, copy=False) for name, array in arrays.items()}

    def _generate_torch(self, inputs: Mapping[str, Any]) -> Arrays:
        self._need_origin("generate(…, runtime_ai100=False)")
        from QEfficient.auto.torch_stages import run_torch

        return run_torch(self._recipe(False, "off"), inputs, self._text(), model_limit(self._need_origin("generate")))

    def warmup(self) -> Self:
        """Opens the program and runs every bucket once, so that the first real call is as fast as the others."""
        with self._need_ready().session() as session:
            for bucket in session.buckets:
                session.run({spec.name: np.ones(spec.at(bucket), dtype=spec.dtype) for spec in session.inputs})
        return self

    def device_report(self) -> dict[str, Json]:
        """Where the program runs and why that backend was chosen."""
        return self._need_ready().report()

    # ------------------------------------------------------------------------------------ keep and share

    def save_pretrained(self, save_directory: str | Path) -> str:
        """Saves the compiled program as one folder that loads with ``from_pretrained``, without torch or a network.

        Args:
            save_directory: The folder to write; an existing program there is replaced.

        Returns:
            The folder.
        """
        return str(programs.save(self._need_ready().program, Path(save_directory)).path)

    def push_to_hub(self, repo_id: str, *, token: str | None = None, private: bool | None = None, **kwargs: Any) -> str:
        """Uploads the compiled program to a HuggingFace repo.

        Args:
            repo_id: ``"owner/name"``; created when it does not exist.
            token: Overrides the stored token.
            private: For a repo that is created.
            **kwargs: Passed on to ``huggingface_hub.HfApi.upload_folder`` (``commit_message``, ``revision``, …).

        Returns:
            The commit's URL.
        """
        from huggingface_hub import HfApi

        path = self._need_ready().program.path
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=str(path), **kwargs))

    def close(self) -> None:
        """Closes the open sessions; the next call opens them again."""
        if self._ready is not None:
            self._ready.close()
