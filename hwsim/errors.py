"""The one exception that a user's mistake becomes: a sentence, no traceback, exit status 2."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """Bad input. The message is one sentence that names the field and the rule."""
