"""``QEFFTransformersBase``: what every QEff Auto class of encoders can do. Here: run the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from QEfficient import arguments
from QEfficient.auto.pruning import Pruning
from QEfficient.backends.base import Arrays
from QEfficient.errors import UsageError
from QEfficient.inference.arrays import inference_files, reader, result_dtype


class QEFFTransformersBase(Pruning):
    """Loads, represents and manages one model on its road to a program. Use a subclass, such as ``QEFFAutoModel``.

    After ``compile``, running is safe from any number of threads; ``export`` and ``compile`` hold the object's lock
    and put the new program in place in one assignment.

    Args:
        model: A HuggingFace model that is already loaded, as it is or wrapped by ``torch.compile``.
    """

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
        self._need_origin("generate(…, runtime_ai100=False)")
        from QEfficient.build.torch_graph import graph_rules, graph_specs
        from QEfficient.build.torch_reference import run_torch

        recipe = self._recipe(False, "off")
        specs = graph_specs(recipe)
        rules = graph_rules(recipe, specs)
        rows = reader(specs, rules=rules, max_length=recipe.reach.limit)(inputs)
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
