"""Classes of the user's own, named ``module:Class`` where the package's own names stand; found from the working directory too.

To import a module is to run it: such a name is taken from a command line or a file of the user's, never from a run folder.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from atari_vlm.errors import AtariVLMError, ConfigError, UnknownNameError

_NAME = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<attribute>[A-Za-z_]\w*)")


def is_own(name: object) -> bool:
    """Whether a name has the form ``module:Class``."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def own_class(name: str, what: str = "class") -> type[Any]:
    """The class that ``module:Class`` names.

    Raises ``UnknownNameError`` with the nearest names when there is no such module or class, and ``ConfigError`` when the
    module cannot be imported. ``what`` says in errors what was looked for.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"a {what} of your own is named module:Class, got {name!r}")
    module = imported(match["module"], what)
    found = getattr(module, match["attribute"], None)
    if not inspect.isclass(found):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
        raise UnknownNameError(f"{what} in {match['module']}", match["attribute"], classes)
    return found


def imported(module: str, what: str = "module") -> ModuleType:
    """A module by name, from the working directory too; errors as :func:`own_class`."""
    with from_here():
        try:
            return importlib.import_module(module)
        except AtariVLMError:
            raise
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise ConfigError(f"the module {module} cannot be imported: {error}") from error
            here = [path.stem for path in Path.cwd().glob("*.py")]
            here += [path.parent.name for path in Path.cwd().glob("*/__init__.py")]
            raise UnknownNameError(
                f"module for your {what}", module, here, "" if here else "none lies in this folder"
            ) from error
        except Exception as error:
            raise ConfigError(
                f"the module {module} cannot be imported: {type(error).__name__}: {error}"
            ) from error


@contextmanager
def from_here() -> Iterator[None]:
    """Within the block modules are found in the working directory too, after those that are installed."""
    here = str(Path.cwd())
    known = here in sys.path or "" in sys.path
    if not known:
        sys.path.append(here)
    try:
        yield
    finally:
        if not known and here in sys.path:
            sys.path.remove(here)


def takes(kind: type[Any]) -> tuple[str, ...] | None:
    """The keywords that a class's constructor takes; ``None`` when it takes any."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # a class without a signature that Python can read
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(parameter.name for parameter in parameters if parameter.kind in named)


def made(name: str, kind: type[Any], options: Mapping[str, Any]) -> Any:
    """An object of a class of the user's own; ``ConfigError`` for keywords that it does not take and for what it raises."""
    known = takes(kind)
    if known is not None:
        for option in options:
            if option not in known:
                raise UnknownNameError(f"option of {name}", option, known)
    try:
        return kind(**options)
    except AtariVLMError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} cannot be made: {type(error).__name__}: {error}") from error
