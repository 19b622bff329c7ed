"""Roles, rules and files of policies."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from api.services.access.claims import ClaimNames, identity_of
from api.services.access.identity import Identity, SignedInBy
from api.services.access.policy import Policy
from api.services.access.policy_file import (
    PolicyFileError,
    load_policy,
    read_policy,
)
from api.services.access.rules import RuleTextError, read_path_rule
from tests.support.examples import examples

BUILT_IN = read_policy({})
NAMES = ClaimNames()


def identity(policy: Policy = BUILT_IN, **claims: Any) -> Identity:
    return identity_of(
        {"sub": "alice", **claims}, policy, NAMES, SignedInBy.BEARER
    )


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "matching", "others"),
        [
            (
                "GET /jobs/**",
                ["GET /jobs", "GET /jobs/1", "GET /jobs/1/x", "HEAD /jobs"],
                ["POST /jobs", "GET /jobs2", "GET /", "GET //jobs"],
            ),
            (
                "POST /jobs/*/cancel",
                ["POST /jobs/1/cancel"],
                ["POST /jobs/cancel", "POST /jobs//cancel"],
            ),
            ("* /**", ["PUT /", "GET /a/b", "DELETE /a"], []),
            ("GET /a.b", ["GET /a.b"], ["GET /axb"]),
            ("GET,POST /a", ["GET /a", "POST /a"], ["PATCH /a", "GET /a/"]),
        ],
    )
    def test_what_they_match(
        self, rule: str, matching: list[str], others: list[str]
    ) -> None:
        read = read_path_rule(rule)
        for asked in matching:
            assert read.matches(*asked.split(" ")), asked
        for asked in others:
            assert not read.matches(*asked.split(" ")), asked

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "GET",
            "/jobs",
            "GET jobs",
            "get /jobs",
            "GET /**/x",
            "GET /a*",
            "GET /a b",
            "FETCH /jobs",
            "GET /(a|b)",
            "GET /%2e",
            "GET /a\nb",
        ],
    )
    def test_what_is_no_rule(self, text: str) -> None:
        with pytest.raises(RuleTextError):
            read_path_rule(text)

    @settings(max_examples=examples(200))
    @given(
        st.lists(st.sampled_from(["a", "bb", "*", "c.d"]), max_size=4),
        st.booleans(),
        st.lists(st.sampled_from(["a", "bb", "c.d", "cxd", "", "a\n"])),
    )
    def test_they_match_as_a_walk_over_the_segments(
        self,
        segments: list[str],
        is_open: bool,  # noqa: FBT001 - drawn
        path: list[str],
    ) -> None:
        text = "".join(f"/{each}" for each in segments)
        rule = read_path_rule("GET " + (text + "/**" * is_open or "/"))
        asked = "".join(f"/{each}" for each in path) or "/"
        walked = asked.split("/")[1:]
        if not segments and not is_open:
            expected = asked == "/"
        else:
            head = walked[: len(segments)]
            expected = (
                len(head) == len(segments)
                and (is_open or len(walked) == len(segments))
                and all(
                    want in (got, "*") and (got or want != "*")
                    for want, got in zip(segments, head, strict=True)
                )
            )
        assert rule.matches("GET", asked) == expected


class TestDecisions:
    @given(
        st.sampled_from(["GET", "POST", "PATCH", "DELETE"]),
        st.text(alphabet="/abjobs*%.", max_size=20),
    )
    def test_what_nobody_allows_is_refused(
        self, method: str, path: str
    ) -> None:
        for roles in ((), ("unknown",), ("client",)):
            decision = BUILT_IN.decide(roles, method, f"/{path}")
            assert not decision.is_allowed

    def test_denials_hold_for_their_own_role_only(self) -> None:
        policy = read_policy(
            {
                "roles": {
                    "a": {"allow": ["GET /**"], "deny": ["GET /secret/**"]},
                    "b": {"includes": ["a"], "allow": ["GET /secret/b"]},
                    "c": {"includes": ["b"], "deny": ["GET /x"]},
                }
            }
        )

        def may(role: str, path: str) -> bool:
            return policy.decide([role], "GET", path).is_allowed

        assert may("a", "/x")
        assert not may("a", "/secret/b")
        assert may("b", "/secret/b")
        assert not may("b", "/secret/c")
        assert may("b", "/x")
        assert not may("c", "/x")
        # Somebody with two roles may do what either lets.
        assert policy.decide(["a", "c"], "GET", "/x").is_allowed

    def test_they_explain_themselves(self) -> None:
        assert str(BUILT_IN.decide(["viewer"], "GET", "/jobs")) == (
            "allowed by the rule 'GET /jobs/**' of the role viewer"
        )
        assert str(BUILT_IN.decide([], "GET", "/jobs")) == (
            "refused: there is no role"
        )
        refused = BUILT_IN.decide(["operator"], "PATCH", "/jobs/batch")
        assert "denies it with 'PATCH /jobs/batch'" in str(refused)

    def test_packages(self) -> None:
        def may(role: str, package: str) -> bool:
            return BUILT_IN.decide_package([role], package).is_allowed

        assert may("viewer", "jobs.list")
        assert not may("viewer", "jobs.cancel")
        assert may("operator", "jobs.cancel")
        assert not may("client-admin", "audit.list")
        assert may("admin", "audit.list")
        assert not may("nobody", "jobs.list")


class TestClaims:
    @pytest.mark.parametrize(
        "roles",
        [
            None,
            {},
            7,
            True,
            [["admin"]],
            [{"admin": 1}],
            {"admin": True},
            "Admin",
            ["admin\n"],
        ],
    )
    def test_what_is_no_role_gives_none(self, roles: Any) -> None:
        found = identity(roles=roles)
        assert found.roles == frozenset()
        assert found.clients == frozenset()

    def test_without_a_claim_no_client_is_open(self) -> None:
        assert identity(roles=["viewer"]).clients == frozenset()
        assert identity(roles="viewer operator").roles == {
            "viewer",
            "operator",
        }
        assert identity(roles=["viewer"], clients=["a"]).clients == frozenset(
            "a"
        )
        assert identity(roles=["viewer"], clients="*").clients is None
        assert identity(roles=["admin"]).clients is None

    def test_values_are_mapped(self) -> None:
        policy = read_policy(
            {
                "claims": {
                    "roles": {"grp-ops": ["operator"], "admin": []},
                    "clients": {"team": ["c1", "c2"]},
                }
            }
        )
        found = identity(policy, roles=["grp-ops", "admin"], clients=["team"])
        assert found.roles == {"operator"}
        assert found.clients == frozenset({"c1", "c2"})

    def test_claims_within_objects(self) -> None:
        names = ClaimNames(roles="realm_access.roles")
        claims = {"sub": "a", "realm_access": {"roles": ["viewer", "x"]}}
        found = identity_of(claims, BUILT_IN, names, SignedInBy.BEARER)
        assert found.roles == {"viewer"}
        # A name may have dots itself.
        names = ClaimNames(roles="https://x.example/roles")
        claims = {"sub": "a", "https://x.example/roles": ["viewer"]}
        found = identity_of(claims, BUILT_IN, names, SignedInBy.BEARER)
        assert found.roles == {"viewer"}

    def test_users_of_the_policy(self) -> None:
        users = {"boss@example.com": {"roles": ["admin"]}}
        policy = read_policy({"users": users})

        def roles(**claims: Any) -> frozenset[str]:
            return identity(policy, **claims).roles

        assert roles(email="boss@example.com", email_verified=True)
        # Whoever can choose an address must not become somebody by it.
        assert not roles(email="boss@example.com")
        assert not roles(email="boss@example.com", email_verified="true")
        assert not roles(preferred_username="boss@example.com")
        assert not roles(name="boss@example.com")

    def test_nobody_is_taken_for_the_administrator(self) -> None:
        found = identity_of(
            {"sub": "admin"}, BUILT_IN, NAMES, SignedInBy.BEARER
        )
        assert found.actor == "user:admin"


class TestFiles:
    CONTENT: ClassVar[dict[str, Any]] = {
        "roles": {"support": {"includes": ["viewer"], "allow": ["GET /x"]}},
        "users": {"a": {"roles": ["support"], "clients": ["*"]}},
    }

    @pytest.mark.parametrize("ending", ["json", "yaml", "yml", "toml"])
    def test_formats(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"policy.{ending}"
        texts = {
            "json": json.dumps(self.CONTENT),
            "toml": "[roles.support]\nincludes = ['viewer']\n"
            "allow = ['GET /x']\n[users.a]\nroles = ['support']\n"
            "clients = ['*']\n",
        }
        path.write_text(texts.get(ending) or yaml.safe_dump(self.CONTENT))
        policy = load_policy(path)
        assert policy.decide(["support"], "GET", "/x").is_allowed
        assert policy.decide(["support"], "GET", "/jobs").is_allowed
        assert policy.users["a"].clients is None
        assert {"viewer", "operator", "client-admin", "admin"} <= set(
            policy.roles
        )

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({"role": {}}, "role: Extra inputs"),
            ({"roles": {"a": {"alow": []}}}, "roles.a.alow"),
            ({"roles": {"a": {"allow": "GET /x"}}}, "roles.a.allow"),
            ({"roles": {"a": {"allow": ["x"]}}}, "roles.a.allow: 'x'"),
            ({"roles": {"a": {"includes": ["b"]}}}, "there is no role b"),
            ({"roles": {"a": {"includes": ["a"]}}}, "includes itself"),
            ({"roles": {"a b": {}}}, "roles.a b"),
            ({"users": {"u": {"roles": ["boss"]}}}, "u: there is no role"),
            ({"everybody": {"roles": ["boss"]}}, "everybody: there is no"),
            ({"claims": {"roles": {"g": ["boss"]}}}, "g: there is no role"),
        ],
    )
    def test_faults_are_named(
        self, content: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(PolicyFileError, match=words.replace(".", r"\.")):
            read_policy(content)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("p.txt", b"{}"),
            ("p.json", b"{"),
            ("p.json", b"[]"),
            ("p.json", b"\xff"),
            ("p.toml", b"a = "),
            ("p.yaml", b"a: [\n"),
            ("p.yaml", b"!!python/object/apply:os.system ['true']"),
            ("p.json", b" " * (1024 * 1024 + 1)),
            ("p.json", b"[" * 100_000),
        ],
        ids=range(9),
    )
    def test_what_is_no_policy(
        self, tmp_path: Path, name: str, content: bytes
    ) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(PolicyFileError):
            load_policy(path)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyFileError, match="cannot be opened"):
            load_policy(tmp_path / "none.toml")
