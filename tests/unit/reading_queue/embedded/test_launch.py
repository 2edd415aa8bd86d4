"""How PostgreSQL is run is decided by who runs the hub and by what the machine allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.launch import Launch, Method, choose_method


def refusing(*refused: Method) -> dict[Method, str | None]:
    return {method: "Operation not permitted" if method in refused else None for method in Method}


@pytest.mark.parametrize(
    ("is_root", "has_name", "refused", "chosen"),
    [
        pytest.param(
            False, True, [Method.USER_NAMESPACE, Method.SYSTEM_USER], Method.DIRECT, id="an ordinary user needs none"
        ),
        pytest.param(True, True, [], Method.USER_NAMESPACE, id="root prefers a user namespace"),
        pytest.param(True, True, [Method.SYSTEM_USER], Method.USER_NAMESPACE, id="and needs nothing else then"),
        pytest.param(
            True, True, [Method.USER_NAMESPACE], Method.SYSTEM_USER, id="root without namespaces becomes nobody"
        ),
        pytest.param(False, False, [], Method.USER_NAMESPACE, id="a user without a name gets one"),
    ],
)
def test_choice(is_root: bool, has_name: bool, refused: list[Method], chosen: Method) -> None:
    assert choose_method(is_root=is_root, has_name=has_name, why_not=refusing(*refused).__getitem__) is chosen


def test_an_ordinary_user_tries_nothing() -> None:
    choose_method(is_root=False, has_name=True, why_not=lambda method: pytest.fail(f"tried {method}"))


def test_what_works_first_is_the_last_that_is_tried() -> None:
    tried: list[Method] = []
    choose_method(is_root=True, has_name=True, why_not=tried.append)
    assert tried == [Method.USER_NAMESPACE]


def test_root_without_any_way_is_told_why_and_what_to_do() -> None:
    with pytest.raises(EmbeddedServerError) as refused:
        choose_method(is_root=True, has_name=True, why_not=lambda method: f"reason of {method.name}")
    words = str(refused.value)
    assert "reason of USER_NAMESPACE" in words
    assert "reason of SYSTEM_USER" in words
    assert "ordinary user" in words
    assert "SETUID" in words
    assert "[database] url" in words


def test_a_user_without_a_name_is_told_why_and_what_to_do() -> None:
    with pytest.raises(EmbeddedServerError, match=r"without a name.*reason of USER_NAMESPACE.*/etc/passwd.*url"):
        choose_method(is_root=False, has_name=False, why_not=lambda method: f"reason of {method.name}")


def test_the_wrapper_runs_as_the_server_does() -> None:
    launch = Launch(Method.USER_NAMESPACE, ("become", "--"), Path("/bin"), owner=(0, 0))
    assert launch.command("postgres", wrapper=["dying", "--"]) == ["become", "--", "dying", "--", "/bin/postgres"]
