"""`/tokens`: access tokens, with at most the rights of their maker."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from api.core.problems import problems
from api.dependencies.callers import Person
from api.dependencies.services import AllServices
from api.models.token_models import Token, TokenCreate, TokenWithSecret
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/tokens", tags=["tokens"], route_class=ResourceRoute
)
_TOO_MUCH = {
    403: [
        (
            "You cannot give the role admin: a token has at most the roles "
            "of its maker, or the Admin API key makes it"
        ),
        (
            "Tokens are made by people who have signed in, or with the Admin "
            "API key; not with a client's key or another token"
        ),
    ]
}


@router.post("", status_code=201, responses=problems(_TOO_MUCH))
async def create_token(
    request: TokenCreate, services: AllServices, person: Person
) -> TokenWithSecret:
    """Make a token; only this answer shows its `token`."""
    return await services.access.tokens.create(request, person)


@router.get("")
async def list_tokens(
    services: AllServices,
    person: Person,
    page: PageQuery,
    response: Response,
) -> Sequence[Token]:
    """List the tokens that you have made; all, for an admin."""
    found = await services.access.tokens.page(person, page)
    return answer(found, response)


@router.delete("/{token_id}", status_code=204)
async def revoke_token(
    token_id: str, services: AllServices, person: Person
) -> None:
    """End a token at once."""
    await services.access.tokens.revoke(token_id, person)
