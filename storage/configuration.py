"""How gateway and hub read their configuration: one TOML file and environment variables, read once.

Environment variables win over the file. Unknown keys are refused, and all errors are reported together in words.
"""

from __future__ import annotations

import errno
import os
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` has one sentence for each error."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def words_of_denied(failure: BaseException) -> str | None:
    """Return in words that this user may not use a file or folder, None where that is not what failed."""
    if not isinstance(failure, OSError) or failure.filename is None:
        return None
    if failure.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return None
    return f"{failure.filename} cannot be used by this user ({failure.strerror})"


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what differs when a file was written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Configuration(BaseSettings):
    """Base of a program's settings; `program` is how its sentences name it."""

    program: ClassVar[str]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the signature is pydantic-settings's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file's values, which come in as arguments."""
        return (env_settings, init_settings)

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Return the settings of the TOML file at `path` (None: environment alone) under the environment.

        Raises:
            ConfigurationError: with one sentence for each thing that is wrong.
        """
        values = _read_toml(path) if path is not None else {}
        problems = cls._unknown_environment_variables()
        try:
            settings = cls(**values)
        except ValidationError as exc:
            errors = exc.errors(include_input=False, include_url=False)
            raise ConfigurationError([*problems, *(cls._in_words(error) for error in errors)]) from exc
        except SettingsError as exc:
            raise ConfigurationError([*problems, str(exc)]) from exc
        if problems:
            raise ConfigurationError(problems)
        return settings

    @classmethod
    def _unknown_environment_variables(cls) -> list[str]:
        prefix = cls.model_config["env_prefix"]
        known = {name.upper() for name in cls.model_fields} | {"CONFIG"}
        found = (name for name in os.environ if name.upper().startswith(prefix))
        return [
            f"{name}: the {cls.program} has no such setting"
            for name in sorted(found)
            if name.upper().removeprefix(prefix).split("__")[0] not in known
        ]

    @classmethod
    def _in_words(cls, error: ErrorDetails) -> str:
        where = ".".join(str(part) for part in error["loc"]) or "configuration"
        if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            return f"{where}: the {cls.program} has no such setting"
        if error["type"] == "missing":
            return f"{where}: is missing"
        return f"{where}: {re.sub('^Value error, ', '', error['msg'])}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigurationError([f"{path}: there is no such file"]) from exc
    except OSError as exc:
        raise ConfigurationError([f"{path}: cannot be read ({exc.strerror})"]) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError([f"{path}: is not valid TOML: {exc}"]) from exc
