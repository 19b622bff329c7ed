"""Keycloak's realm says what the settings and the policy expect."""

import json
from typing import Any

from api.services.access.policy_file import load_policy
from config import Settings
from tests.support.paths import ROOT

REALM: dict[str, Any] = json.loads(
    (ROOT / "deploy/keycloak/metasync-realm.json").read_text(encoding="utf-8")
)


def test_its_roles_are_those_of_the_policy() -> None:
    names = {role["name"] for role in REALM["roles"]["realm"]}
    assert names == set(load_policy(None).roles)


def test_its_claims_are_those_of_the_settings() -> None:
    (scope,) = REALM["clientScopes"]
    claims = {
        mapper["config"].get("claim.name")
        for mapper in scope["protocolMappers"]
    }
    fields = Settings.model_fields
    for name in ("oidc_roles_claim", "oidc_clients_claim"):
        assert fields[name].default in claims


def test_it_has_no_secret_and_no_open_address() -> None:
    for client in REALM["clients"]:
        assert client["secret"].startswith("${")
        assert not client["implicitFlowEnabled"]
        assert not client["directAccessGrantsEnabled"]
        assert all("*" not in each for each in client.get("redirectUris", ()))
    web = REALM["clients"][0]
    assert web["redirectUris"] == ["${METASYNC_PUBLIC_URL}/auth/callback"]
    assert web["attributes"]["pkce.code.challenge.method"] == "S256"
