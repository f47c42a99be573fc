"""The registry of distillation methods: their `--distill` names."""

from distiller_zoo.base import Distiller
from helper.errors import UserError
from helper.registry import Registry, Value, read_keys, split_name

distillers: Registry[type[Distiller]] = Registry("distiller")


def parse_methods(text: str) -> dict[str, dict[str, Value]]:
    """ "dkd:beta=8,T=4+crd" -> {"dkd": {"beta": 8.0, "T": 4.0}, "crd": {}}.

    UserError for an unknown name or key, a value out of its range, or a name that comes twice.
    """
    methods: dict[str, dict[str, Value]] = {}
    for part in text.split("+"):
        name, given = split_name(part, "distiller")
        if name in methods:
            raise UserError(f"{text!r} names a distiller twice")
        methods[name] = read_keys(name, distillers[name].keys(), given)
    return methods
