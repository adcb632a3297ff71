"""The realm that deploy/keycloak imports gives the tokens that Branchline reads. Keycloak itself does not run here.

What its mappers make of a user is done again from the realm's own declaration, and the token verified as any other.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.auth.errors import InvalidToken
from shared.auth.principal import Role
from tests.shared.auth.issuer import AUDIENCE, Issuer, signed

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "keycloak"
TEXT = (FOLDER / "realm.json").read_text()
REALM: dict[str, Any] = json.loads(TEXT)
CLIENTS = {client["clientId"]: client for client in REALM["clients"]}
SCOPES = {scope["name"]: scope for scope in REALM["clientScopes"]}
USERS = {user["username"]: user for user in REALM["users"]}


def claims_of(username: str, client_id: str) -> dict[str, Any]:
    """What Keycloak puts into an access token of this user at this client."""
    user, client = USERS[username], CLIENTS[client_id]
    claims: dict[str, Any] = {"sub": None, "nbf": None, "branch": None, "aud": None, "role": None}
    audiences: list[str] = []
    scopes = [SCOPES[name] for name in client["defaultClientScopes"]]
    for mapper in (mapper for scope in scopes for mapper in scope["protocolMappers"]):
        config = mapper["config"]
        assert config["access.token.claim"] == "true"
        match mapper["protocolMapper"]:
            case "oidc-sub-mapper":
                claims["sub"] = "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"
            case "oidc-audience-mapper":
                audiences.append(config["included.custom.audience"])
            case "oidc-usermodel-attribute-mapper":
                if values := user.get("attributes", {}).get(config["user.attribute"]):
                    claims[config["claim.name"]] = values[0]
            case "oidc-usermodel-client-role-mapper":
                owner = config["usermodel.clientRoleMapping.clientId"]
                # Without the full scope a client gets only the roles that its scopes map.
                mapped = {
                    role
                    for mapping in REALM["clientScopeMappings"][owner]
                    if mapping["clientScope"] in client["defaultClientScopes"]
                    for role in mapping["roles"]
                }
                assert client["fullScopeAllowed"] is False
                assert config["multivalued"] == "true", "else two roles would be told as one of them"
                claims[config["claim.name"]] = [role for role in user["clientRoles"][owner] if role in mapped]
            case unknown:
                pytest.fail(f"{unknown} is not done again here")
    claims["scope"] = " ".join(s["name"] for s in scopes if s["attributes"]["include.in.token.scope"] == "true")
    claims["aud"] = audiences[0] if len(audiences) == 1 else audiences
    return claims


@pytest.mark.parametrize(
    ("username", "client_id", "role", "staff_id", "branch_id", "scopes"),
    [
        ("m0107", "branchline-console", Role.MANAGER, "M0107", "B01", frozenset()),
        ("h01", "branchline-console", Role.BRANCH_HEAD, "H01", "B01", frozenset()),
        ("ho01", "branchline-console", Role.HEAD_OFFICE, "HO01", None, frozenset()),
        ("au01", "branchline-console", Role.AUDITOR, "AU01", None, frozenset()),
        ("op01", "branchline-console", Role.OPERATOR, "OP01", None, frozenset()),
        ("service-account-core-banking", "core-banking", Role.SERVICE, None, None, frozenset({"corebanking:write"})),
    ],
)
async def test_each_user_is_who_they_are_in_the_bank(
    username: str, client_id: str, role: Role, staff_id: str | None, branch_id: str | None, scopes: frozenset[str]
) -> None:
    principal = await Issuer().verifier.verify(signed(**claims_of(username, client_id)))
    assert (principal.role, principal.staff_id, principal.branch_id, principal.scopes) == (
        role,
        staff_id,
        branch_id,
        scopes,
    )


def test_every_user_is_tried_and_every_role_is_there() -> None:
    assert {role["name"] for role in REALM["roles"]["client"]["branchline"]} == set(Role)
    assert {user["clientRoles"]["branchline"][0] for user in REALM["users"]} == set(Role)
    assert all(len(user["clientRoles"]["branchline"]) == 1 for user in REALM["users"])


async def test_a_user_who_is_given_two_roles_gets_in_with_neither() -> None:
    claims = claims_of("m0107", "branchline-console") | {"role": ["manager", "head_office"]}
    with pytest.raises(InvalidToken, match="invalid_token"):
        await Issuer().verifier.verify(signed(**claims))


def test_claims_are_in_access_tokens_alone_and_no_other_token_has_our_audience() -> None:
    """An ID token is for its client: it must not pass for an access token here."""
    for scope in REALM["clientScopes"]:
        for mapper in scope["protocolMappers"]:
            assert mapper["config"]["id.token.claim"] == "false", mapper["name"]
    assert AUDIENCE in CLIENTS, "the roles' owner"
    owner = CLIENTS[AUDIENCE]
    assert owner["bearerOnly"] is True
    for flow in ("standardFlowEnabled", "implicitFlowEnabled", "directAccessGrantsEnabled", "serviceAccountsEnabled"):
        assert owner[flow] is False, "nobody logs in at it, so no ID token names it"


def test_nobody_gives_themselves_another_staff_id_or_branch() -> None:
    ((component,),) = REALM["components"].values()
    (profile,) = (json.loads(text) for text in component["config"]["kc.user.profile.config"])
    attributes = {attribute["name"]: attribute for attribute in profile["attributes"]}
    assert {"staff_id", "branch"} <= attributes.keys()
    assert all(attribute["permissions"]["edit"] == ["admin"] for attribute in attributes.values())
    assert "unmanagedAttributePolicy" not in profile, "what is not declared cannot be set"
    assert (REALM["registrationAllowed"], REALM["editUsernameAllowed"]) == (False, False)


def test_clients_log_in_in_no_weaker_way_than_they_need() -> None:
    for client in REALM["clients"]:
        assert (client["implicitFlowEnabled"], client["directAccessGrantsEnabled"]) == (False, False)
        assert not any(redirect == "*" for redirect in client.get("redirectUris", ()))
    console = CLIENTS["branchline-console"]
    assert console["publicClient"] is True
    assert console["attributes"]["pkce.code.challenge.method"] == "S256"
    assert "secret" not in console


def test_no_secret_is_in_the_realm_and_each_is_made_on_the_spot() -> None:
    secrets = re.findall(r'"(?:secret|value)": "([^"]*)"', TEXT)
    assert secrets
    placeholders = {re.fullmatch(r"\$\{(KEYCLOAK_\w+)\}", secret) for secret in secrets}
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]["keycloak"]
    for placeholder in placeholders:
        assert placeholder is not None
        assert compose["environment"][placeholder[1]] == f"${{{placeholder[1]}:?}}"


def test_the_services_believe_the_realm_that_is_imported() -> None:
    overrides = yaml.safe_load((FOLDER / "services.yml").read_text())["services"]
    assert overrides.keys() == {"customer", "interaction", "scoring", "notification"}
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]["keycloak"]
    for override in overrides.values():
        issuer = override["environment"]["BRANCHLINE_OIDC_ISSUER"]
        assert issuer == f"{compose['environment']['KC_HOSTNAME']}/realms/{REALM['realm']}"
        keys = f"http://keycloak:8080/realms/{REALM['realm']}/protocol/openid-connect/certs"
        assert override["environment"]["BRANCHLINE_JWKS_URL"] == keys
