"""A component around another one: whatever it does not answer itself, the one inside answers.

    @frozen
    class Lazy(Wrapper, Termination):
        inner: Termination

        def update(self, state, confidence, step):
            ...

`Lazy` is asked for its scope, its promises and everything else that the contract of its kind knows
(components.py), and passes each question on. What is passed on is read off the kind's base class,
so a question that is added there is forwarded by every wrapper from that moment on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from scalingar_fw.decoding.components import BASES, Component


def questions(base: type) -> Iterator[str]:
    """The public methods and properties of a kind's base class, `init` and `update` included."""
    for name in dir(base):
        if not name.startswith("_") and name != "kind":
            yield name


class Wrapper:
    """Mixin, before the base class of a kind. `inside` names the field that holds the component."""

    inside: ClassVar[str] = "inner"
    #: Whether it only watches, so that messages name the component inside.
    watches: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = next((b for b in BASES.values() if issubclass(cls, b)), None)
        if base is None:  # a mixin of a family of wrappers, which has no kind yet
            return
        for name in questions(base):
            owner = next(c for c in cls.__mro__ if name in vars(c))
            if owner is base or owner is Component:
                method = callable(getattr(base, name))
                setattr(cls, name, _method(name) if method else _question(name))


def author_of(component: Any) -> Any:
    """Whose decision an answer is: the component, or what is inside a wrapper that only watches."""
    while isinstance(component, Wrapper) and component.watches:
        component = getattr(component, component.inside)
    return component


def _question(name: str) -> property:
    def ask(self: Any) -> Any:
        return getattr(getattr(self, self.inside), name)

    return property(ask, doc=f"What the component inside says of `{name}`.")


def _method(name: str) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(getattr(self, self.inside), name)(*args, **kwargs)

    call.__name__ = name
    call.__doc__ = f"`{name}` of the component inside."
    return call


__all__ = ["Wrapper", "author_of", "questions"]
