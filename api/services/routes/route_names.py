"""Which names, and which models, routes have taken.

Routes and models share their names. Whoever writes one looks for the other
before, and once more after: of two who write at the same time, at least one
sees the other then.
"""

from collections.abc import Collection

from api.core.errors import ConflictError
from utilities.cosmos_connector import Documents, Filter, ObjectId


class NameTakenError(ConflictError):
    """A route and a model would have the same name."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            f"The name {name!r} belongs to a {owner} already; models and "
            "routes share their names. Choose another name."
        )


class RouteNames:
    """What the rules of models need to know of routes."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def check_free(self, name: str) -> None:
        """Make sure that no route has a name.

        Raises:
            NameTakenError: one has it.
        """
        if await self._documents.find_one({"name": name}) is not None:
            raise NameTakenError(name, "route")

    async def check_unused(self, model_id: str) -> None:
        """Make sure that no route leads to a model.

        Raises:
            ConflictError: names one that does.
        """
        found = await self._documents.find_one({"modelIds": model_id})
        if found is not None:
            raise ConflictError(
                f"The route {found['name']!r} has this model as a target. "
                "Take it out of the route first."
            )

    async def among(self, references: Collection[str]) -> set[str]:
        """Return those that are names or ids of routes."""
        found = await self._documents.find(named(references), fields=["name"])
        known = {each["name"] for each in found}
        known |= {str(each["_id"]) for each in found}
        return known & set(references)


def named(references: Collection[str]) -> Filter:
    """Give the filter for what has one of these names or ids."""
    ids = [ObjectId(each) for each in references if ObjectId.is_valid(each)]
    by_name: Filter = {"name": {"$in": list(references)}}
    return {"$or": [by_name, {"_id": {"$in": ids}}]} if ids else by_name
