"""The registry of the tasks: adding a family here is the whole registration."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.tasks.deepfocus import Deepfocus
from casa_ml_tasks.tasks.family import Family
from casa_ml_tasks.tasks.jointdeconv import Jointdeconv
from casa_ml_tasks.tasks.resolveimage import Resolveimage
from casa_ml_tasks.tasks.rmlclean import Rmlclean

#: Every task by its name.
FAMILIES: Mapping[str, Family[Any, Any]] = {
    family.name: family for family in (Rmlclean(), Resolveimage(), Jointdeconv(), Deepfocus())
}


def known_products(family: Family[Any, Any]) -> list[Product]:
    """What the task may leave, and then what any other may have left under the same name."""
    known: dict[str, Product] = {}
    for product in chain(family.products, *(each.products for each in FAMILIES.values())):
        known.setdefault(product.extension, product)
    return list(known.values())
