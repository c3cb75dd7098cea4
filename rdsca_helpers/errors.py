"""What can go wrong, as one small tree; each error knows the exit code it stands for.

RdscaError (1: a defect, or not told apart further)
├── UsageError (2)        a wrong parameter, value or file
├── Refused (3)           stopped before any change
├── Stopped (4)           stopped after a failure, or something could not be read
│   ├── AccessDenied      AWS refused a call
│   └── Unreachable       a database, an endpoint or AWS did not answer
├── NotVerified (5)       changed, but not seen to work
├── OutcomeUnknown (6)    a change was asked for and nobody knows what became of it
├── Locked (7)            another run works in this folder
├── OutsideWindow (8)     frozen, or outside the window
├── Damaged (9)           journal or evidence damaged or not writable
└── UnknownRoot (10)      a CA root that needs approval
"""

from __future__ import annotations

from enum import StrEnum


class Obstacle(StrEnum):
    """What stood between us and a server's certificate."""

    UNRESOLVED = "unresolved"  # its name leads nowhere
    REFUSED = "refused"
    BLACKHOLE = "blackhole"  # no answer to the connection attempt
    SILENT = "silent"
    SLOW = "slow"  # it answers, and does not come to an end
    FLOOD = "flood"
    GIANT = "giant packet"
    RESET = "reset"
    PLAINTEXT = "plaintext"  # after it had agreed to TLS
    WRONG_PROTOCOL = "wrong protocol"
    NO_TLS = "no tls"
    TURNED_AWAY = "turned away"  # the database itself wants no connection
    HANDSHAKE = "handshake"  # TLS itself did not come about


class RdscaError(Exception):
    """Something that rdsca can name, with the remedy where there is one."""

    code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy

    def _render_traceback_(self) -> list[str]:
        """One line instead of a traceback in a notebook (IPython's hook): the message is the help."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(RdscaError):
    """A parameter, a value or an input file is wrong."""

    code = 2


class Refused(RdscaError):
    """Stopped before anything was changed."""

    code = 3


class Stopped(RdscaError):
    """Stopped after a failure, or something could not be read; the rest is done."""

    code = 4


class AccessDenied(Stopped):
    """AWS refused a call that this step needs."""


class Unreachable(Stopped):
    """A database, an endpoint or AWS did not answer; *obstacle* is the kind, where the wire itself was looked at."""

    def __init__(self, what: str, remedy: str = "", obstacle: Obstacle | None = None) -> None:
        super().__init__(what, remedy)
        self.obstacle = obstacle


class NotVerified(RdscaError):
    """The change was made, and it was not seen to work."""

    code = 5


class OutcomeUnknown(RdscaError):
    """A change was asked for, and nobody knows yet what became of it."""

    code = 6


class Locked(RdscaError):
    """Another run works on the same thing."""

    code = 7


class OutsideWindow(RdscaError):
    """A freeze is on, or this is not the time for it."""

    code = 8


class Damaged(RdscaError):
    """The journal or the evidence is damaged, or cannot be written."""

    code = 9


class UnknownRoot(RdscaError):
    """A CA root that nobody has approved."""

    code = 10


def code_of(name: str) -> int:
    """Give the exit code for the error class called *name*, as a notebook reports it; 1 when it is not ours."""
    classes = {RdscaError}
    while any(new := [sub for c in classes for sub in c.__subclasses__() if sub not in classes]):
        classes.update(new)
    return next((c.code for c in classes if c.__name__ == name), 1)
