"""JSON texts that users wrote: what is no JSON, or says a thing twice, is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import BadInput


def parse_json(text: str, file: str, wanted: str = "") -> Any:
    """The value of a JSON text.

    Args:
        text: to read.
        file: where it stands, for messages.
        wanted: what the file should be, for messages.

    Raises:
        BadInput: it is no JSON, with its line, is nested too deep, or an object has a key twice.
    """
    hint = f"; {wanted}" if wanted else ""

    def table(entries: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(entries)
        if len(found) < len(entries):
            keys = [key for key, _ in entries]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise BadInput(f"{file}: key '{twice}' is given twice; remove one{hint}")
        return found

    try:
        return json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise BadInput(f"{file}:{error.lineno}: is not JSON ({error.msg}){hint}") from None
    except RecursionError:
        raise BadInput(f"{file}: is nested too deeply{hint}") from None
    except ValueError:
        raise BadInput(f"{file}: holds a number of too many digits{hint}") from None
