"""A model's files, resolved but not read.

Two questions are answered without loading weights wherever that is possible: what the model is (its raw
``config.json``) and what it holds (the digests that key the cache).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient import hub
from QEfficient.architectures import find
from QEfficient.cache import Watched, file_digests, json_like
from QEfficient.errors import LoadError
from QEfficient.records import Json
from QEfficient.sentence_repo import SentenceRepo, modules_of
from QEfficient.sentence_repo import read as read_sentence_repo
from QEfficient.source.adapter import Adapter, find_adapter
from QEfficient.source.identity import config_of, is_native, module_identity
from QEfficient.source.keywords import check_keywords
from QEfficient.source.loading import load
from QEfficient.source.narrow import narrow_class, plain
from QEfficient.text.facts import preprocessing_files

if TYPE_CHECKING:
    from torch import nn

# Keywords with which transformers reads other files than config.json and what hub.weight_files names.
_FILE_KEYWORDS = ("variant", "use_safetensors", "gguf_file", "config")
TRAINING_FILE = "config_qefficient_training.json"
"""What ``fine_tune`` writes beside a model: from what it was trained, on what, how. The hub fetches it as a config."""

# Where transformers would look for an adapter: we merge it, and transformers must not load it a second time.
_NO_ADAPTER: Mapping[str, Any] = {"adapter_kwargs": {"subfolder": "no adapter here"}}


class Checkpoint:
    """A model's files. The weights are read when :meth:`module` is first called.

    Args:
        files: As ``hub.resolve`` found them.
        auto_class: Name of the transformers class that loads them, ``"AutoModel"``.
        args, keywords: Passed on to its ``from_pretrained``; but ``route``, which names a route of a
            sentence-transformers repo with a Router.
        where: How ``hub.resolve`` found the files; an adapter's base is found likewise.
        adapter: What changes the weights, where that was found before.

    Attributes:
        folder: The tokenizer's, or the processor's.
        adapter: What changes the weights once they are loaded, if anything does.
        model_folder: Where ``config.json`` and the weights are: of an adapter, its base's.
    """

    def __init__(
        self,
        files: hub.ModelFiles,
        auto_class: str,
        args: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
        where: Mapping[str, Any] | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        self.files = files
        self.name = files.name
        self.auto_class, self.args, self.keywords = auto_class, args, dict(keywords or {})
        self.route: str | None = self.keywords.pop("route", None)
        check_keywords(self.keywords)
        self._along = along = modules_of(files.folder, self.route)
        own = along.modules[0].folder if along else files.folder
        if adapter is None and (own / hub.ADAPTER_CONFIG).is_file():
            adapter = find_adapter(files, own, where or {})
        self.adapter = adapter
        self.model_folder = adapter.base if adapter else own
        # An adapter may come without a tokenizer: then it has its base's.
        self.folder = own if adapter is None or along or preprocessing_files(own) else adapter.base
        self.handed_out = False
        self.needs_pooler = auto_class != "AutoModel"  # a task's head may stand on it; pooled states do not
        self._module: nn.Module | None = None
        self._config_file = Watched({})  # as it was when it was read
        self._weights_read = Watched({})  # likewise
        self._lock = threading.Lock()

    def config(self) -> dict[str, Json]:
        """The raw ``config.json``, with the caller's overrides when the model was loaded."""
        if self._module is not None:
            return config_of(self._module)
        if hasattr(self.keywords.get("config"), "to_dict"):
            return dict(self.keywords["config"].to_dict())
        return self._raw_config

    @cached_property
    def repo(self) -> SentenceRepo | None:
        """What a sentence-transformers repo says beside its modules."""
        return read_sentence_repo(self.files.folder, self._along) if self._along else None

    @property
    def tokenizer_keywords(self) -> Mapping[str, Json]:
        """What counts in place of what the folder's ``tokenizer_config.json`` says."""
        return self.repo.tokenizer if self.repo else {}

    def facts(self) -> dict[str, Json]:
        """The config, and as its ``processor`` what the folder's image processor or feature extractor is set to."""
        if (file := self.folder / "preprocessor_config.json").is_file():
            found: Json = hub.read_object(file)
        else:
            parts = hub.read_object(self.folder / "processor_config.json", missing_ok=True)  # a processor of several
            found = parts.get("image_processor") or parts.get("feature_extractor")
        return self.config() | {"processor": found if isinstance(found, dict) else {}}

    @cached_property
    def _raw_config(self) -> dict[str, Json]:
        path = self.model_folder / "config.json"
        self._config_file = Watched.of([path] if path.is_file() else [])
        raw = hub.read_object(path)
        return raw | {name: value for name, value in self.keywords.items() if name in raw}

    def module(self) -> nn.Module:
        """The HuggingFace model, in eval mode, on the CPU."""
        with self._lock:
            if self._module is None:
                self._weights_read = Watched.of(self.weight_files())
                self._module = load(self._load)
            return self._module

    def to_train(self) -> nn.Module:
        """A module of the caller's own, in float32, with what the files lack of a task's head: random numbers there.

        Raises:
            LoadError: They lack weights of the encoder, too.
        """
        return load(lambda: self._load(to_train=True)).float()

    @property
    def training(self) -> Mapping[str, Json] | None:
        """What the model was trained from, on what and how, where ``fine_tune`` made it."""
        path = self.files.folder / TRAINING_FILE
        return hub.read_object(path) if path.is_file() else None

    def _load(self, to_train: bool = False) -> nn.Module:
        import transformers

        from QEfficient.pytorch_transforms.widths import read_widths

        keywords = {"dtype": "float32"} | self.keywords | {"attn_implementation": "eager"}
        keywords |= {"ignore_mismatched_sizes": True} if to_train else {}
        keywords |= _NO_ADAPTER if self.adapter else {}
        narrow = bool(read_widths(self.config()))
        kind: Any = narrow_class(self.class_name()) if narrow else getattr(transformers, self._class_name())
        try:
            model, found = kind.from_pretrained(
                str(self.model_folder), *self.args, output_loading_info=True, **keywords
            )
        except LoadError:
            raise
        except Exception as error:  # transformers raises whatever its readers raise
            raise LoadError(
                f"transformers could not load {self.name!r}.",
                got=f"{type(error).__name__}: {error}",
                allowed=f"what transformers.{self.auto_class}.from_pretrained takes",
                do=f"try {self.auto_class}.from_pretrained with these arguments; remote code needs trust_remote_code",
            ) from error
        model = plain(model) if narrow else model
        brought: frozenset[str] = frozenset()
        if self.adapter:
            from QEfficient.pytorch_transforms.adapters import merge_adapter

            brought = merge_adapter(model, self.adapter.folder, self.name)
        new_head = to_train and model.base_model is not model
        if new_head:
            found = _of_encoder(found, model.base_model_prefix)
        _check_loaded(found, self.name, self.needs_pooler and not new_head, brought)
        return model.eval()  # type: ignore[no-any-return]

    def _class_name(self) -> str:
        """The class of transformers that loads the weights.

        A checkpoint of a T5 encoder alone names that class; ``AutoModel`` would add a decoder of random numbers.
        """
        import transformers

        known = find(str(self.config().get("model_type", ""))).loaded_by
        if self.auto_class in known and not self.remote_code:
            return known[self.auto_class]
        saved = str((self.config().get("architectures") or [""])[0])
        half = self.auto_class == "AutoModel" and saved.endswith("EncoderModel") and not self.remote_code
        return saved if half and hasattr(transformers, saved) else self.auto_class

    def class_name(self) -> str:
        """Name of the class that transformers makes of the files; the weights are not read for it."""
        if self._module is not None:
            return type(self._module).__name__
        config = self.config()
        saved = [str(name) for name in config.get("architectures") or ()]
        if self.remote_code:
            own = str(hub.read_config(self.model_folder)["auto_map"].get(self.auto_class, "")).rpartition(".")[2]
            return own or next(iter(saved), self.auto_class)
        if saved and _is_made_by(self.auto_class, saved[0]):
            return saved[0]  # transformers, which takes seconds to import, need not be asked
        loader = self._class_name()
        return _mapped_class(loader, config, saved) if loader.startswith("Auto") else loader

    def release(self) -> None:
        """Forgets the loaded weights unless the caller holds them; they are read again when needed."""
        if not self.handed_out:
            with self._lock:
                self._module, self._weights_read = None, Watched({})

    def identity(self) -> dict[str, Json] | None:
        """Every ingredient of the key that describes the model, or ``None`` when only its graph can tell."""
        if not self._told_by_files:
            return None
        if not self.handed_out and self._weights_read.changed():
            self.release()  # what is in memory is of older files than those whose digests follow
        common: dict[str, Json] = {"auto_class": self.auto_class, "keywords": self.keywords, "args": list(self.args)}
        if self.handed_out:
            return module_identity(self.module()) if is_native(self.module()) else None
        weights = file_digests(self._model_files())
        # The file's own text, not what transformers makes of it: the key is the same before and after loading.
        found = common | {"config": self._raw_config, "weights": weights}
        if self.adapter:  # without peft's version: who has the merged graph needs no peft
            found["adapter"] = file_digests(self.adapter.files)
        return found

    def refuse_changed(self) -> None:
        """Refuses a config.json that is another than the one that was read: transformers reads it again.

        Raises:
            CacheError: It is.
        """
        self._config_file.refuse_changed()

    def weight_files(self) -> tuple[Path, ...]:
        """The files whose digests stand for the weights in the key; none where something else does."""
        if self.handed_out or not self._told_by_files:
            return ()
        return (*self._model_files(), *(self.adapter.files if self.adapter else ()))

    def _model_files(self) -> tuple[Path, ...]:
        """What transformers reads weights from: the checkpoint, and of some speech models a language's own part."""
        more = [self.model_folder / name for name in hub.language_files(self.keywords.get("target_lang"))]
        return (*hub.weight_files(self.model_folder), *(path for path in more if path.is_file()))

    @cached_property
    def _told_by_files(self) -> bool:
        """Whether the folder's config and weights, and the keywords, tell all: no code, and no other files."""
        if self.remote_code or not json_like([self.keywords, *self.args]):
            return False
        named = any(self.keywords.get(name) is not None for name in _FILE_KEYWORDS)
        return not named and not self._raw_config.get("transformers_weights")

    @cached_property
    def remote_code(self) -> bool:
        """Whether the repo brings its own modelling code and the caller allowed it."""
        return bool(self.keywords.get("trust_remote_code")) and "auto_map" in hub.read_config(self.model_folder)


def _is_made_by(auto_class: str, name: str) -> bool:
    """Whether a model was saved from the class that the Auto class makes of it, as both their names say."""
    if auto_class == "AutoModel":
        return name.endswith("Model") and "Head" not in name  # GPT2LMHeadModel
    if auto_class == "AutoModelForCausalLM" and name.endswith("LMHeadModel"):
        return True
    return name.endswith(auto_class.removeprefix("AutoModel"))


def _mapped_class(loader: str, config: Mapping[str, Json], saved: Sequence[str]) -> str:
    """The class that one of transformers' Auto classes takes: of several the one that was saved, else the first."""
    from transformers.models.auto import modeling_auto

    model_type = str(config.get("model_type", ""))
    found = getattr(modeling_auto, loader)._model_mapping._model_mapping.get(model_type) or saved or [model_type]
    names = [found] if isinstance(found, str) else list(found)
    return next((name for name in saved if name in names), names[0])


def _of_encoder(found: Mapping[str, Any], prefix: str) -> dict[str, list[Any]]:
    """What of a load's report is about the encoder, as transformers names it in a model with a head."""
    names = ("missing_keys", "mismatched_keys")
    return {
        name: [
            entry
            for entry in found.get(name, ())
            if str(entry[0] if isinstance(entry, tuple) else entry).startswith(f"{prefix}.")
        ]
        for name in names
    }


def _check_loaded(found: Mapping[str, Any], name: str, needs_pooler: bool, brought: frozenset[str]) -> None:
    """Refuses a checkpoint that lacks weights: transformers fills them with random numbers and only warns.

    HuggingFace's pooler may be missing where nothing of ours passes through it, and what an adapter brought.
    """
    lacking = set(found.get("missing_keys", ())) - brought
    missing = sorted(key for key in lacking if needs_pooler or "pooler" not in key.split("."))
    wrong = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in found.get("mismatched_keys", ()))
    if missing or wrong:
        shown = ", ".join([*missing, *wrong][:4]) + (", …" if len(missing) + len(wrong) > 4 else "")
        raise LoadError(
            f"The checkpoint of {name!r} does not hold all weights of the model; the rest would be random numbers.",
            got=f"{len(missing)} missing, {len(wrong)} of another shape: {shown}",
            allowed="a checkpoint with every weight of the model",
            do="load it with the class of the task that it was trained for, fetch it again, or correct its config",
        )
