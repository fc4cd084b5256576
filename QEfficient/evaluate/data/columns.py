"""Which column is which role: by the names that people use, or as the caller says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from QEfficient.arguments import listed
from QEfficient.errors import InputError, UsageError, nearest, unknown
from QEfficient.evaluate.data.roles import CLUSTER, DataTask, Role
from QEfficient.evaluate.data.table import DataTable
from QEfficient.evaluate.data.values import LISTS

Wanted = Mapping[str, str | int | Sequence[str] | None]
"""What a caller says: role → its column, or several where the role holds lists; ``None`` for a role to leave out."""


_QUESTION = Role("question", "text", ("query",), required=False)  # of a task that names no such role


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked through for one task's roles."""

    table: DataTable
    task: DataTask
    wanted: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    def find(self, role: Role) -> tuple[str, ...]:
        """The column, or the columns, of a role; empty where there is none.

        Raises:
            InputError: Two columns may be meant.
        """
        if role.name in self.wanted:
            return self.wanted[role.name] or ()
        taken = {name for names in self.wanted.values() if names for name in names}
        free = {name: _folded(name) for name in self.table.names if name not in taken}
        found = [name for name, folded in free.items() if folded == role.name]
        found = found or [name for name, folded in free.items() if folded in role.aliases]
        if len(found) > 1:
            raise InputError(
                f"Two columns may be the {role.name} of {self.task.name}.",
                got=f"{' and '.join(map(repr, found))}; the columns are {', '.join(self.table.names)}",
                allowed=f"one column for {role.name}",
                do=f"say which: columns={{{role.name!r}: {found[0]!r}}}",
            )
        return tuple(found)


def find_columns(table: DataTable, task: DataTask, columns: Wanted | None = None) -> dict[str, tuple[str, ...]]:
    """Each role that the data set has, with its column, or its columns where a list is spread over several.

    A column of the role's own name goes before those with names that people use for it. Where a task may have one text
    or two, and a ``question`` or ``query`` stands beside one text, it is the first of the two.

    Args:
        table: The data set.
        task: What it is for.
        columns: What the caller says of roles and their columns.

    Returns:
        Role → names of columns, in the order of the task's roles.

    Raises:
        UsageError: ``columns`` names a role or a column that is not there.
        InputError: A role that must be there has no column, or two columns may be meant.
    """
    search = _Search(table, task, _wanted(table, task, columns))
    if table.positional and not set(search.wanted) - {CLUSTER.name}:
        return _by_place(search)
    for form in task.needed:
        found = {name: search.find(task.role(name)) for name in form}
        if all(found.values()):
            optional = () if task.forms else tuple(role.name for role in task.roles if not role.required)
            found |= {name: search.find(task.role(name)) for name in (*optional, CLUSTER.name)}
            found |= _asked_first(search, found)
            order = [role.name for role in (*task.roles, CLUSTER)]
            return {name: found[name] for name in order if found.get(name)}
    raise _missing(search)


def _asked_first(search: _Search, found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Text and pair of rows that have a question beside their one text, as QNLI's do: the question goes first.

    Nothing where the caller says which column is either of the two.
    """
    if {"text", "pair"} - found.keys() or found["pair"] or {"text", "pair"} & search.wanted.keys():
        return {}
    question = search.find(_QUESTION)
    if not question or question in found.values():
        return {}
    return {"text": question, "pair": found["text"]}


def check_roles(columns: Wanted | None, roles: Sequence[str], of: str) -> None:
    """Refuses what is no mapping, and roles that are none.

    Args:
        columns: What the caller says of roles and their columns.
        roles: Those that there are.
        of: What has them, as an error calls it.

    Raises:
        UsageError: It is no mapping, or names another role.
    """
    if not isinstance(columns, Mapping | None):
        raise UsageError(
            "columns is no mapping.",
            got=columns,
            allowed="a mapping from roles to names of columns",
            do='pass one, such as columns={"text": "review_body"}',
        )
    for role in columns or ():
        if role not in roles:
            raise unknown(
                UsageError, f"{of} has no role {role!r}.", role, roles, do="columns maps roles to names of columns"
            )


def _wanted(table: DataTable, task: DataTask, columns: Wanted | None) -> dict[str, tuple[str, ...] | None]:
    check_roles(columns, [one.name for one in (*task.roles, CLUSTER)], f"The task {task.name}")
    return {role: _column(table, task, role, column) for role, column in (columns or {}).items()}


def _column(
    table: DataTable, task: DataTask, role: str, column: str | int | Sequence[str] | None
) -> tuple[str, ...] | None:
    if column is None:
        return None
    several = not isinstance(column, str | int)
    names = [str(name) for name in (listed("columns", column, "names") if several else [column])]
    if several and task.role(role).kind not in LISTS:
        raise UsageError(
            f"The role {role} holds one value a row, not a list.",
            got=f"columns={{{role!r}: {column!r}}}",
            allowed="the name of one column",
            do="choose one of them",
        )
    for name in names:
        if name not in table.names:
            what = f"The {table.source} has no column {name!r}."
            raise unknown(UsageError, what, name, table.names, argument=f"columns[{role!r}]", do="name one of these")
    return tuple(names)


def _by_place(search: _Search) -> dict[str, tuple[str, ...]]:
    """Rows that are tuples: the task's roles in their order, those that may be left out all or none of them."""
    width, task = len(search.table.names), search.task
    whole = () if task.forms else (tuple(role.name for role in task.roles),)
    for form in (*whole, *task.needed):
        if len(form) == width:
            return {name: (str(place),) for place, name in enumerate(form)} | {
                name: columns for name, columns in search.wanted.items() if columns
            }
    raise InputError(
        f"Rows of {width} are not rows of {task.name}.",
        got=search.table.source,
        allowed=" or ".join(f"({', '.join(form)})" for form in (*task.needed, *whole)),
        do="pass tuples in this order, or mappings with the names of the columns",
    )


def _missing(search: _Search) -> InputError:
    task, names = search.task, search.table.names
    if len(task.needed) > 1:
        return InputError(
            f"The {search.table.source} has not the columns of {task.name}.",
            got=f"the columns {', '.join(names)}",
            allowed=" or ".join(", ".join(form) for form in task.needed),
            do="name the columns so, or say which they are: columns={role: name}",
        )
    role = next(task.role(name) for name in task.needed[0] if not search.find(task.role(name)))
    return InputError(
        f"No column of the {search.table.source} is the {role.name} of {task.name}." + nearest(role.name, names),
        got=f"the columns {', '.join(names)}",
        allowed=f"one called {role.name}, {', '.join(role.aliases)}",
        do=f'say which it is: columns={{{role.name!r}: "its name"}}',
    )


def _folded(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
