"""``QEFFTransformersBase``: what every QEff Auto class can do. It chains the stages and holds what they returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from QEfficient import arguments, hub
from QEfficient import program as programs
from QEfficient.auto.insight import Insight
from QEfficient.backends.base import Arrays
from QEfficient.build.buckets import sequence_limit
from QEfficient.build.request import CORES, Unset, parse, verify_mode, with_defaults
from QEfficient.build.saved import saved_program
from QEfficient.build.stages import compile_stage, copy_onnx, export_stage, with_graph
from QEfficient.build.subject import ModelSubject
from QEfficient.cache import Cache
from QEfficient.diagnostics.buckets import buckets_for_texts
from QEfficient.diagnostics.doctor import with_precision_file
from QEfficient.diagnostics.recommend import options_for_objective
from QEfficient.errors import UsageError
from QEfficient.inference.arrays import inference_files, reader, result_dtype
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.numerics.explain import explain
from QEfficient.records import Json
from QEfficient.source.adapter import language_files
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.lengths import reach
from QEfficient.source.loaded_module import LoadedModule

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.numerics.verify import Limits

HUB_KEYWORDS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


COMPLETIONS = (options_for_objective, buckets_for_texts, with_defaults, with_graph, with_precision_file)
"""What fills in a request to compile, in this order. Each takes it and the model, and gives it back filled in."""


class QEFFTransformersBase(Insight):
    """Loads, represents and manages one model on its road to a program. Use a subclass, such as ``QEFFAutoModel``.

    After ``compile``, running is safe from any number of threads; ``export`` and ``compile`` hold the object's lock
    and put the new program in place in one assignment.

    Args:
        model: A HuggingFace model that is already loaded, as it is or wrapped by ``torch.compile``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._begin(LoadedModule(model))

    @classmethod
    def _load(cls, id_or_path: str | Path, args: tuple[Any, ...], keywords: dict[str, Any]) -> Self:
        """Resolves files (and downloads them if need be); reads no weights."""
        arguments.path_like("pretrained_model_name_or_path", id_or_path, "a hub id or the path of a folder")
        where = {name: keywords.pop(name) for name in HUB_KEYWORDS if name in keywords}
        found = hub.resolve(id_or_path, hub.Where(**where), also=language_files(keywords.get("target_lang")))
        self = cls.__new__(cls)
        if hub.is_program(found.folder):
            self._begin(None, saved_program(found, cls._task, keywords))
        else:
            self._begin(Checkpoint(found, cls._task.auto_class, args, keywords, where))
        return self

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            *args: As the ``from_pretrained`` of transformers' class for this task takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …). A saved program takes ``backend`` (run its graph there), ``strict``
                (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes always are) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            UsageError: A saved program of another task.
        """
        return cls._load(pretrained_model_name_or_path, args, dict(kwargs))

    # ------------------------------------------------------------------------------------ export and compile

    @property
    def max_seq_length(self) -> int:
        """The most tokens of a text that ``encode`` keeps, special tokens included. Settable."""
        if self._max_seq_length is not None:
            return self._max_seq_length
        return (self._loaded.text if self._loaded else self._text()).max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        if self._origin is not None:
            limit = reach(self._origin).whole
        else:
            limit = self._need_loaded().program.manifest.shapes[-1].length
        self._max_seq_length = sequence_limit(value, limit)

    def get_max_seq_length(self) -> int:
        """As :attr:`max_seq_length`."""
        return self.max_seq_length

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
        recipe = self._recipe(use_onnx_subfunctions, verify_mode(verify))
        recipe.architecture.check(recipe.origin.config())
        with self._lock:
            graph = export_stage(recipe, Cache())
            self._onnx_path = graph.path if export_dir is None else copy_onnx(graph, Path(export_dir))
            self._export_verify = recipe.verify
            return str(self._onnx_path)

    def compile(
        self,
        onnx_path: str | Path | None = None,
        compile_dir: str | Path | None = None,
        *,
        seq_len: int | Iterable[int] | Literal["auto"] | None = None,
        batch_size: int | Sequence[int] = Unset(1),
        num_devices: int = 1,
        num_cores: int = Unset(CORES),
        mxfp6_matmul: bool = False,
        use_onnx_subfunctions: bool = False,
        backend: str | None = None,
        compute: str | None = None,
        strict: bool = False,
        verify: str = "on",
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        objective: str | None = None,
        buckets: int | None = None,
        **compiler_options: Any,
    ) -> str:
        """Compiles the model, or finds the same program in the cache.

        Args:
            onnx_path: A graph to compile instead of this model's own export.
            compile_dir: Parent folder for a copy of the program; left out, it stays in the cache (``QEFF_HOME``).
            seq_len: Tokens of a bucket, or a list of them. Left out: 32, 64, … up to the model's own limit. ``"auto"``:
                the buckets that :meth:`suggest_buckets` finds for ``texts``; the last one has the model's own limit.
            batch_size: Rows of a bucket, where shapes are fixed, or a list of them: of each length of ``seq_len``.
                Left out, 1; with ``seq_len="auto"`` and no ``objective`` each bucket has its own, whichever costs
                least.
            num_devices: Devices (SoCs) that one program spans.
            num_cores: AI cores (NSP) of an instance on the card; the host ignores it.
            mxfp6_matmul: Store matrix-multiply weights as MXFP6 on the card.
            use_onnx_subfunctions: Export repeated layers as ONNX functions and keep them on the card.
            backend: ``"onnxruntime"``, ``"openvino"``, ``"qaic"``, ``"emulator"`` (its arithmetic on the host) or
                ``"auto"`` (the default; ``QEFF_BACKEND`` sets another).
            compute: Precision of the arithmetic; left out, the backend's default (fp32 on the host, fp16 on the card).
                ``"int8"`` on the host: products in int8, calibrated on built-in texts and ``texts``; the layers that
                cost too much accuracy are left out (``device_report()["int8"]``).
            strict: On the host, run exactly the compiled shapes, as a card does.
            verify: ``"on"`` checks the program's numbers against HuggingFace float32: the graph's; for the card its
                arithmetic, emulated here; on the host the program's own in int8, bf16 and on OpenVINO. ``"off"`` is
                recorded.
            texts: Further texts to verify on. With ``seq_len="auto"`` they also choose the buckets; of more than 256
                some of every length are verified on.
            limits: What must hold in place of the defaults, for example ``{"min_cosine": 0.999}``; see
                :class:`QEfficient.numerics.verify.Limits`.
            objective: ``"throughput"``, ``"latency"`` or ``"balanced"``: fills in those of ``num_cores``,
                ``batch_size``, ``ols``, ``mos`` and ``multicast_weights`` that are left out, as :meth:`recommend` finds
                them for the longest bucket. The host keeps these with the program; only a card makes use of them.
            buckets: With ``seq_len="auto"``: the most buckets, 5 when left out.
            **compiler_options: The compiler's documented flags with underscores (``mos=1``); ``raw_compiler_flags=[…]``
                forces others. ``node_precision_info=True`` lets :meth:`doctor` make the file.

        Returns:
            On the card the folder with ``programqpc.bin``; on the host the program's folder.

        Warns:
            UserWarning: The tokenizer gives ids that the model has no row for: tokens were added, its table was not
                resized.

        Raises:
            OptionError: An unknown keyword or a value out of range.
            BackendUnavailableError: What was asked for can't be had here.
            CompileError: The compiler failed; its output is kept.
            VerificationError: The numbers are past a limit; no program is kept.
        """
        given = locals()
        self._need_origin("export or compile")
        request = parse(given, compiler_options, self._text())
        subject = ModelSubject(self._recipe(use_onnx_subfunctions, verify), request.text)
        with self._lock:
            for complete in COMPLETIONS:
                request = complete(request, subject)
            program = compile_stage(subject.recipe, request, Cache())
            if compile_dir is not None:
                program = programs.save(program, Path(compile_dir) / program.path.name)
            self._put_in_place(LoadedProgram(program, request.backend, request.reason, strict=strict, explain=explain))
        self._need_loaded().warn_of_tokens()
        return str(self.qpc_path)

    def _put_in_place(self, new: LoadedProgram) -> None:
        old = self._loaded
        if old is not None and (old.program, old.strict) == (new.program, new.strict):
            return  # the same program: its open session goes on
        self._loaded = new
        if old is not None:
            old.retire()

    # ------------------------------------------------------------------------------------ run

    def _accept(self, device: object, batch_size: object, pool: object, chunk_size: object) -> None:
        """Checks keywords of sentence-transformers that change no number."""
        if device is not None:
            self.to(device)
        if batch_size is not None:
            arguments.positive("batch_size", batch_size, "rows")
        if chunk_size is not None:
            arguments.positive("chunk_size", chunk_size, "rows")
        if pool is not None:
            raise UsageError(
                "There is no pool of processes to hand texts to: one process uses all CPUs, or all devices, by itself.",
                got=f"pool={type(pool).__name__}",
                allowed="pool=None",
                do="drop pool; device_ids=[…] runs a card's program on several devices",
            )

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
                them (zeros when left out): integers, ``(rows, length)``; tensors, arrays or lists. Boxes, paths and
                the like, as the table of supported models lists them, may be left out as in HuggingFace. Images are
                ``pixel_values`` ``(rows, channels, height, width)``, clips ``input_values`` ``(rows, samples)`` or
                ``input_features`` ``(rows, frames, width)``.
            device_ids: Devices of the card, a multiple of ``num_devices``; ``None`` lets the runtime choose.
            runtime_ai100: False runs the torch model instead of the program.
            write_io: Also write every inference's arrays and the JSON that the SDK's runner reads, into a new folder
                of ``io_dir`` in the working directory.
            dtype: A float dtype for the result; float32 when left out.

        Returns:
            ``{"output": array}``: ``(rows, dim)`` when pooled, else ``(rows, length, dim)`` with exactly 0.0 beyond
            a row's last real token. A task gives its own outputs: ``{"logits": array}``.

        Raises:
            InputError: A name, dtype, shape, mask or length does not fit.
            DeviceError: The device failed.
        """
        wanted = result_dtype(dtype)
        if not runtime_ai100:
            arrays = self._generate_torch(inputs)
        else:
            loaded = self._loaded or self._need_loaded()
            rows = loaded.rows(inputs)
            files = inference_files() if write_io else None
            arrays = loaded.run(rows, device_ids, record=files.add if files else None)
            if files:
                files.close()
        return {name: array.astype(wanted, copy=False) for name, array in arrays.items()}

    def _generate_torch(self, inputs: Mapping[str, Any]) -> Arrays:
        origin = self._need_origin("generate(…, runtime_ai100=False)")
        from QEfficient.build.torch_graph import graph_rules, graph_specs
        from QEfficient.build.torch_reference import run_torch

        recipe, limit = self._recipe(False, "off"), reach(origin).limit
        specs = graph_specs(recipe)
        rules = graph_rules(recipe, specs)
        rows = reader(specs, rules=rules, max_length=limit)(inputs)
        return run_torch(recipe, rows, specs, rules, self._text())

    def __call__(self, **inputs: Any) -> Any:
        """Runs the program and gives a transformers ``ModelOutput`` of torch tensors, as HuggingFace's class does.

        An input that is ``None`` counts as left out.

        Raises:
            UsageError: ``return_dict=False``.
        """
        if inputs.pop("return_dict", True) is not True:
            raise UsageError(
                "Only a ModelOutput is returned.", got="return_dict=False", allowed="return_dict=True", do="drop it"
            )
        arrays = self.generate({name: value for name, value in inputs.items() if value is not None})
        import torch

        return self._model_output({name: torch.from_numpy(array) for name, array in arrays.items()})

    def forward(self, **inputs: Any) -> Any:
        """As calling the object; pipelines call it so."""
        return self(**inputs)

    def _model_output(self, tensors: dict[str, Any]) -> Any:
        from transformers import modeling_outputs

        return getattr(modeling_outputs, self._task.model_output)(**tensors)

    def warmup(self, *, calibrate: bool = True) -> Self:
        """Opens the program and runs every bucket once, so that the first real call is as fast as the others.

        A host's weights are put into the system's huge pages as well, where it has them (Linux).

        Args:
            calibrate: On the host, also measure how many batches at once, and of which size, run fastest on this
                machine: about two seconds, once. The result is kept in ``QEFF_HOME`` for later processes. Other
                batches may round the last bits of a vector another way.
        """
        self._need_loaded().warmup(calibrate=calibrate)
        return self

    def device_report(self) -> dict[str, Json]:
        """Where the program runs and why that backend was chosen."""
        return self._need_loaded().report()

    # ------------------------------------------------------------------------------------ keep and share

    def save_pretrained(self, save_directory: str | Path) -> str:
        """Saves the compiled program as one folder that loads with ``from_pretrained``, without torch or a network.

        Args:
            save_directory: The folder to write; an existing program there is replaced.

        Returns:
            The folder.
        """
        return str(programs.save(self._need_loaded().program, Path(save_directory)).path)

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        *,
        exist_ok: bool = True,
        commit_message: str | None = None,
        commit_description: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
        **kwargs: Any,
    ) -> str:
        """Uploads the compiled program to a HuggingFace repo.

        Args:
            repo_id: ``"owner/name"``; created when it does not exist.
            token: Overrides the stored token.
            private: For a repo that is created.
            exist_ok: False refuses a repo that exists.
            commit_message: As ``huggingface_hub.HfApi.upload_folder`` takes it, as all that follow.
            commit_description: Likewise.
            revision: Likewise.
            create_pr: Likewise.
            **kwargs: Likewise (``allow_patterns``, …).

        Returns:
            The commit's URL.
        """
        from huggingface_hub import HfApi

        given = {
            "commit_message": commit_message,
            "commit_description": commit_description,
            "revision": revision,
            "create_pr": create_pr,
        }
        kwargs |= {name: value for name, value in given.items() if value is not None}
        path = self._need_loaded().program.path
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=exist_ok)
        return str(api.upload_folder(repo_id=repo_id, folder_path=str(path), **kwargs))

    def close(self) -> None:
        """Closes the open sessions; the next call opens them again."""
        if self._loaded is not None:
            self._loaded.close()
