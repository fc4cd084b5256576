"""What is put before a text, and what its vector is for: prompts and routes of a sentence-transformers repo."""

from __future__ import annotations

from collections.abc import Mapping

from QEfficient.errors import UsageError, unknown
from QEfficient.records import TextFacts


def all_prompts(facts: TextFacts) -> dict[str, str]:
    """The repo's prompts; where it has none for queries or documents they are empty, as in sentence-transformers."""
    return {"query": "", "document": "", **facts.prompts}


def find_prompt(known: Mapping[str, str], default: str | None, prompt: str | None, prompt_name: str | None) -> str:
    """The text put before each string: ``prompt``, else the one named, else the repo's default, else none.

    Raises:
        UsageError: There is no prompt of this name.
    """
    if prompt is not None:
        return prompt
    name = prompt_name if prompt_name is not None else default
    if name is None:
        return ""
    if name not in known:
        do = "choose one of these, or pass the text itself as prompt="
        raise unknown(UsageError, "The model has no prompt of this name.", name, known, argument="prompt_name", do=do)
    return known[name]


def task_of(facts: TextFacts) -> str | None:
    """A task whose vectors the program makes; ``None`` where none need be named."""
    if facts.route is None:
        return None
    return next((name for name, route in facts.tasks.items() if route == facts.route), None) or None


def check_task(facts: TextFacts, task: str | None) -> None:
    """Refuses a task whose vectors another route of the repo's Router makes.

    Raises:
        UsageError: It is so, or the Router has no route for the task.
    """
    route = facts.tasks.get(task or "")
    if facts.route is None or route == facts.route:
        return
    what = f"task={task!r}" if task else "no task, as encode has it"
    raise UsageError(
        "This program holds one route of the repo's Router, and these vectors come from another."
        if route is not None
        else "The repo's Router has no route for this task.",
        got=f"{what}, on a program of the route {facts.route!r}",
        allowed=", ".join(f"{name or 'no task'}: route {other!r}" for name, other in facts.tasks.items()),
        do=f"load another model with from_pretrained(…, route={route!r})" if route else "name one of these tasks",
    )
