"""What a model is and where its files are: the side of the Auto classes that runs nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from QEfficient import hub
from QEfficient.auto.road import L, Road
from QEfficient.compress.record import steps_of
from QEfficient.errors import LoadError
from QEfficient.records import Json, Program
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.keywords import check_device
from QEfficient.source.loaded_module import LoadedModule

if TYPE_CHECKING:
    from torch import nn


class Description(Road[L]):
    """What can be read off an Auto object without running it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds no weights: it is the path of the program, the files that the model came from, or both."""
        from QEfficient.auto.copies import reduced

        return reduced(self)

    def __copy__(self) -> Self:
        from QEfficient.auto.copies import copied

        return copied(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        from QEfficient.auto.copies import deep_copied

        return deep_copied(self, memo)

    # ------------------------------------------------------------------------------------ what it is

    @property
    def model(self) -> nn.Module:
        """The HuggingFace model; its weights are loaded at the first access.

        Whoever holds it may change it, so from here on every ``compile`` hashes its tensors.
        """
        origin = self._need_origin("model")
        if not isinstance(origin, Checkpoint) or origin.handed_out:
            return origin.module()
        origin.handed_out = True
        try:
            return origin.module()
        except LoadError:
            origin.handed_out = False  # nobody has it
            raise

    @property
    def config(self) -> Any:
        """The transformers config object. Also on a saved program; reads no weights."""
        if isinstance(self._origin, LoadedModule) or (self._origin and self._origin.handed_out):
            return self._origin.module().config
        if self._config is None:
            self._config = self._read_config()  # kept: pipelines ask for it with every label
        return self._config

    def _read_config(self) -> Any:
        from transformers import AutoConfig

        if not isinstance(self._origin, Checkpoint):
            return AutoConfig.for_model(**self._saved_config(self._need_loaded().program))
        keywords = {key: self._origin.keywords[key] for key in ("trust_remote_code",) if key in self._origin.keywords}
        if hasattr(self._origin.keywords.get("config"), "to_dict"):
            return self._origin.keywords["config"]
        config = AutoConfig.from_pretrained(str(self._origin.model_folder), **keywords)
        config.update({k: v for k, v in self._origin.keywords.items() if hasattr(config, k)})
        return config

    @property
    def get_model_config(self) -> dict[str, Json]:
        """The config as a dict."""
        if self._origin is None:
            return self._saved_config(self._need_loaded().program)
        return self._origin.config()

    @staticmethod
    def _saved_config(program: Program) -> dict[str, Json]:
        return hub.read_config(program.path)

    @property
    def model_name(self) -> str:
        """Class name of the wrapped model, ``"BertModel"``."""
        if self._origin is None:
            facts = self._need_loaded().program.manifest.model
            return facts.model_class if facts else "program"
        return self._origin.class_name()

    @property
    def trained(self) -> dict[str, Json] | None:
        """What the model was trained from, on what, how, and what it scored before and after. Also on a saved program.

        A dict with ``"from"``, ``"data"``, ``"how"``, ``"steps"``, ``"held_out_loss"``, ``"score"`` and ``"metrics"``,
        as :meth:`QEfficient.train.record.Trained.facts` gives it; ``None`` for a model that neither :meth:`fine_tune`
        nor ``distill`` has made.
        """
        if self._origin is not None:
            found: object = self._origin.training
        else:
            found = self._need_loaded().program.manifest.key.get("trained")
        return copy.deepcopy(dict(found)) if isinstance(found, Mapping) else None

    @property
    def compressed(self) -> list[dict[str, Json]]:
        """By what steps the model was made smaller, the first one first. Also on a saved program.

        Each is a dict with ``"step"``, ``"how"``, ``"made"``, ``"data"``, ``"metrics"`` (before and after) and
        ``"max_drop"``, as :class:`QEfficient.compress.record.CompressionStep` has it; empty where there was none.
        """
        if self._origin is not None:
            return copy.deepcopy([*steps_of(self._origin.config()), *map(dict, self._own_steps())])
        found = self._need_loaded().program.manifest.key.get("compressed")
        return copy.deepcopy(list(found)) if isinstance(found, list) else []

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
        if isinstance(self._origin, LoadedModule):
            return next(self._origin.module().parameters()).dtype
        name = str(self._origin.keywords.get("dtype", "float32"))
        if name == "auto":
            config = hub.read_config(self._origin.model_folder)  # as written: the keyword stands in the origin's own
            name = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
        return getattr(torch, name) if name else next(self._origin.module().parameters()).dtype

    def eval(self) -> Self:
        """Returns itself: programs are always in eval mode."""
        return self

    def to(self, device: object) -> Self:
        """Returns itself for the CPU.

        Raises:
            UsageError: Any other device.
        """
        check_device("to", device)
        return self

    def __repr__(self) -> str:
        state = f"program={str(self.program_path)!r}" if self._loaded else "not compiled"
        name = self._origin.name if self._origin else self.model_name
        return f"{type(self).__name__}({name!r}, {state})"

    # ------------------------------------------------------------------------------------ paths

    @property
    def onnx_path(self) -> str | None:
        """What ``export`` gave, else the graph of the compiled program."""
        if self._onnx_path is not None:
            return str(self._onnx_path)
        return str(self._loaded.program.onnx_path) if self._loaded else None

    @property
    def program_path(self) -> str | None:
        """The program's folder, once compiled."""
        return str(self._loaded.program.path) if self._loaded else None

    @property
    def qpc_path(self) -> str | None:
        """On the card the folder with ``programqpc.bin``; on the host the program's folder."""
        if self._loaded is None:
            return None
        return str(self._loaded.program.binary_path or self._loaded.program.path)

    @property
    def qpc_session(self) -> Any:
        """The program's open session: ``run``, ``submit``, ``inputs``, ``buckets``, ….

        It serves until it is closed, by its own ``close()`` or the model's, by ``compile``, by a call with other
        ``device_ids``, or by a ``warmup`` that finds a better way to run. From then on it refuses with ``UsageError``;
        ``qpc_session`` gives another one.
        """
        return self._need_loaded().handed_out()
