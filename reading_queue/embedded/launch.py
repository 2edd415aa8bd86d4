"""How PostgreSQL, which refuses root and whoever has no name, is run on this machine.

An ordinary user runs it directly. One whom the machine knows by number alone, as a container may be told to run, takes
a user namespace, in which they have a name. Root runs it in a user namespace; where the machine allows none (most
containers), as the system user `nobody`, who exists everywhere, so that no user is ever added. `nobody` may then
pass folders that are private to root (CAP_DAC_OVERRIDE) and owns the cluster alone: sockets and data stay behind
folders that only root and this PostgreSQL can enter, and no permission of any folder changes. In a user namespace it
may touch root's files too, so neither way is a stronger wall than the other.

Nothing here is durable: the way is chosen at each start, and `give_cluster` lets each way go on with the other's data.
"""

from __future__ import annotations

import enum
import functools
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.programs import find_postgres_program
from reading_queue.embedded.runtime import RUNTIMES, find_or_copy_programs

PROBE_S = 20
SYSTEM_USER = "nobody"


class Method(enum.Enum):
    """A way to run PostgreSQL; the value is how a message calls it."""

    DIRECT = "directly"
    USER_NAMESPACE = "in a user namespace"
    SYSTEM_USER = f"as the user {SYSTEM_USER}"


@dataclass(frozen=True)
class Launch:
    """One way, ready to use."""

    method: Method
    words: tuple[str, ...]  # before every command
    programs: Path  # the folder of postgres and initdb
    owner: tuple[int, int] | None  # uid and gid that must own the cluster; None: whoever runs this

    def command(self, program: str, *, wrapper: Sequence[str] = ()) -> list[str]:
        """Return the words that run `program` of PostgreSQL, `wrapper` being run as the same user before it."""
        return [*self.words, *wrapper, str(self.programs / program)]


def choose_method(*, is_root: bool, has_name: bool, why_not: Callable[[Method], str | None]) -> Method:
    """Return the way to take; `why_not` returns None for one that works, else the reason.

    Raises:
        EmbeddedServerError: root, or a user without a name, and no way works; the message names the remedies.
    """
    if has_name and not is_root:
        return Method.DIRECT
    reasons = []
    for method in (Method.USER_NAMESPACE, Method.SYSTEM_USER) if is_root else (Method.USER_NAMESPACE,):
        reason = why_not(method)
        if reason is None:
            return method
        reasons.append(f"{method.value} it cannot run here ({reason})")
    if not is_root:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as a user without a name; {'; '.join(reasons)}. Give the user a line in "
            "/etc/passwd, run the hub as a user who has one, or set [database] url to a server of your own."
        )
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root; {'; '.join(reasons)}. Run the hub as an ordinary user, or give the "
        "container the capabilities CHOWN, DAC_OVERRIDE, KILL, SETGID and SETUID, or set [database] url to a server of "
        "your own."
    )


@functools.cache
def why_not(method: Method) -> str | None:
    """Return None when this way can be taken on this machine, else the reason. Tried once for each process."""
    try:
        if method is Method.USER_NAMESPACE:
            return _failure_of([*_namespace_words(), str(find_postgres_program("postgres")), "--version"])
        if method is Method.SYSTEM_USER:
            return _failure_of([*_system_user_words(), _find_program("setpriv"), "--version"])
    except _Missing as exc:
        return str(exc)
    return None


def find_method(why_not: Callable[[Method], str | None] = why_not) -> Method:
    """Return the way to take on this machine; raises EmbeddedServerError like `choose_method`."""
    return choose_method(is_root=os.geteuid() == 0, has_name=_has_name(os.geteuid()), why_not=why_not)


def find_launch(why_not: Callable[[Method], str | None] = why_not, *, runtimes: Path = RUNTIMES) -> Launch:
    """Return how to run PostgreSQL here; its programs are copied below `runtimes` if they must be and are not yet.

    Raises:
        EmbeddedServerError: it cannot run here, in words.
    """
    method = find_method(why_not)
    wheel = find_postgres_program("postgres").parent
    if method is Method.DIRECT:
        return Launch(method, (), wheel, owner=None)
    if method is Method.USER_NAMESPACE:
        return Launch(method, _namespace_words(), wheel, owner=(0, 0) if os.geteuid() == 0 else None)
    user = pwd.getpwnam(SYSTEM_USER)
    # PostgreSQL finds itself with access(2), which ignores the capability: it must be readable without.
    programs = find_or_copy_programs(
        wheel, readable=lambda program: _failure_of([*_plain_words(), str(program), "--version"]) is None, to=runtimes
    )
    return Launch(method, _system_user_words(), programs, owner=(user.pw_uid, user.pw_gid))


def find_reader() -> tuple[str, ...]:
    """Return the words before a command with which root sees processes of the system user, empty if there are none.

    Containers deny root itself a look at another user's processes.
    """
    if os.geteuid() != 0 or why_not(Method.SYSTEM_USER) is not None:
        return ()
    return _system_user_words()


def give_cluster(cluster: Path, launch: Launch) -> None:
    """Make the owner of this way own the files of `cluster` when the other way of root has owned them.

    The folder itself changes last, so that a change that was cut off is taken up again. Nothing may run in it. Files of
    an ordinary user are left alone: PostgreSQL refuses them in its own words.

    Raises:
        EmbeddedServerError: root may not change owners here.
    """
    if launch.owner is None:
        return
    found = cluster.stat().st_uid
    if found == launch.owner[0] or found not in _owners():
        return
    try:
        for folder, folders, files in os.walk(cluster, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(folder, name), *launch.owner, follow_symlinks=False)
        os.chown(cluster, *launch.owner)
    except PermissionError as exc:
        raise EmbeddedServerError(
            f"PostgreSQL runs {launch.method.value}, and its files in {cluster} cannot be given to that user: give the "
            "container the capability CHOWN"
        ) from exc


def _owners() -> set[int]:
    """Return the users as whom root's ways make a cluster."""
    return {0, *(entry.pw_uid for entry in pwd.getpwall() if entry.pw_name == SYSTEM_USER)}


class _Missing(Exception):
    """The machine lacks what a way needs; the message says what."""


def _has_name(user_id: int) -> bool:
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True


def _namespace_words() -> tuple[str, ...]:
    """Return the words that show whoever runs this as another user: files stay theirs."""
    other = next((entry for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    if other is None:
        raise _Missing("the machine has no user but root")
    return (_find_program("unshare"), "--user", f"--map-user={other.pw_uid}", f"--map-group={other.pw_gid}", "--")


def _plain_words() -> tuple[str, ...]:
    """Return the words that make root the system user, without any right of root's."""
    try:
        user = pwd.getpwnam(SYSTEM_USER)
    except KeyError as exc:
        raise _Missing(f"the machine has no user {SYSTEM_USER}") from exc
    become = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return (_find_program("setpriv"), *become, "--inh-caps=-all", "--ambient-caps=-all", "--")


def _system_user_words() -> tuple[str, ...]:
    """Return the words that make root the system user who may still pass folders that are private to root."""
    *words, end = _plain_words()
    kept = [word + ",+dac_override" if "-caps=" in word else word for word in words]
    return (*kept, end)


def _find_program(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise _Missing(f"{name} is missing: install the package util-linux")
    return program


def _failure_of(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PROBE_S, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not answer within {PROBE_S} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"{argv[0]} ended with status {done.returncode}"
