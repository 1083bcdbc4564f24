"""The jinja2 environment that fills in ``firmware_templates``."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> Environment:
    """Return the template environment: undefined names are errors, blocks leave no blank lines."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("firmware_templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["comment"] = comment
    return found


def comment(text: object) -> str:
    """Return a name from a model file as it may stand in a C comment."""
    plain = re.sub(r"[^ -~\u00a0-\ud7ff]", "?", str(text))
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def render(template: str, **values: Any) -> str:
    """Return ``firmware_templates/<template>`` filled in with ``values``."""
    return environment().get_template(template).render(**values)
