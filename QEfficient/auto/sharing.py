"""A compiled program is kept and shared: saved, pushed to a hub, told of, closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from QEfficient import program as programs
from QEfficient.auto.pipelines import PipelineModel
from QEfficient.auto.road import L
from QEfficient.records import Json


class Sharing(PipelineModel[L]):
    """Keeps and shares the program that a model became."""

    def device_report(self) -> dict[str, Json]:
        """Where the program runs and why that backend was chosen.

        Of a model that :meth:`fine_tune` or ``distill`` has made, ``"trained"`` says what :attr:`trained` does.
        """
        return self._need_loaded().report()

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
