"""Whose token is it, and is it good?"""

import base64
import contextlib
import hashlib
import hmac
import json
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.board import Slot
from gateway.clock import SYSTEM
from gateway.config import Identity as Settings
from gateway.errors import ConfigError, Refusal
from gateway.identity import Identity, Member, check_keys, mint
from gateway.kafka import key_hash
from gateway.keys import TokenKey
from tests.fakes import count, new_slot

# Real, because PyJWT looks at the clock itself; every token here lives for an hour of it.
NOW_S: Final = float(SYSTEM.now_us() // 10**6)
SECRET: Final = b"0123456789abcdef0123456789abcdef"
LEEWAY_S: Final = 30


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def pem_pair(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> tuple[str, str]:
    """(public, private) as the keys file has them."""
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return public.decode(), secret.decode()


RSA: Final = pem_pair(rsa.generate_private_key(public_exponent=65_537, key_size=2_048))
ED: Final = pem_pair(ed25519.Ed25519PrivateKey.generate())
KEYS: Final = (
    TokenKey("hs", "HS256", base64url(SECRET)),
    TokenKey("rs", "RS256", RSA[0], mint=RSA[1]),
    TokenKey("ed", "EdDSA", ED[0], mint=ED[1]),
)
BY_KID: Final = {key.kid: key for key in KEYS}


class Gate:
    """An identity and what it counts."""

    def __init__(self, *keys: TokenKey, **settings: Any) -> None:
        self.slot: Slot = new_slot()
        self.identity = Identity(Settings(**settings), keys or KEYS, key_hash, self.slot)

    def member(self, token: str, now_s: float = NOW_S) -> Member:
        return self.identity.member(f"Bearer {token}", now_s)

    def refused(self, token: str, now_s: float = NOW_S) -> str:
        with pytest.raises(Refusal) as caught:
            self.member(token, now_s)
        headers = dict(caught.value.headers)
        assert 'error="invalid_token"' in headers["WWW-Authenticate"]
        return caught.value.problem.code

    def counted(self, result: str) -> int:
        return count(self.slot, "sluicegate_tokens_total", result)


def token(kid: str = "hs", *, alg: str | None = None, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A good token, but for what is given; a claim that is None is left out."""
    whole = {"sub": "u1", "iss": "sluicegate", "aud": "sluicegate", "exp": int(NOW_S) + 3_600} | claims
    signer = BY_KID[kid]
    return jwt.encode(
        {name: value for name, value in whole.items() if value is not None},
        key or signer.minting,
        algorithm=alg or signer.alg,
        headers={"kid": kid} | (header or {}),
    )


def raw_token(header: object, claims: object, *, secret: bytes = SECRET) -> str:
    """A token of any shape, truly signed: what no library would make."""
    parts = ".".join(base64url(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims))
    return f"{parts}.{base64url(hmac.new(secret, parts.encode(), hashlib.sha256).digest())}"


GOOD_HEADER: Final = {"kid": "hs", "alg": "HS256"}
GOOD_CLAIMS: Final = {"sub": "u1", "iss": "sluicegate", "aud": "sluicegate", "exp": int(NOW_S) + 3_600}


@pytest.mark.parametrize("kid", BY_KID)
def test_each_kind_of_key_verifies_its_tokens(kid: str) -> None:
    assert Gate().member(token(kid)) == Member("u1", b"u1", key_hash(b"u1"), NOW_S + 3_600 + LEEWAY_S)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic dTE6cHc=", "bearer", "Token x"])
def test_without_a_bearer_token_one_is_asked_for(authorization: str | None) -> None:
    gate = Gate()
    with pytest.raises(Refusal) as caught:
        gate.identity.member(authorization, NOW_S)
    assert caught.value.problem.code == "token-missing"
    assert dict(caught.value.headers) == {"WWW-Authenticate": 'Bearer realm="sluicegate"'}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_spelled_as_one_likes(scheme: str) -> None:
    assert Gate().identity.member(f"{scheme}  {token()} ", NOW_S).user == "u1"


# A kid pins its algorithm


@pytest.mark.parametrize("kid", BY_KID)
@pytest.mark.parametrize("alg", ["HS256", "HS384", "RS256", "RS512", "PS256", "ES256", "EdDSA", "none", "None", ""])
def test_a_kid_pins_its_algorithm(kid: str, alg: str) -> None:
    if alg == BY_KID[kid].alg:
        return
    header = {"kid": kid, "alg": alg}
    for secret in (SECRET, RSA[0].encode(), ED[0].encode()):
        assert Gate().refused(raw_token(header, GOOD_CLAIMS, secret=secret)) == "token-invalid"


def test_a_public_key_is_no_hs256_secret() -> None:
    """The classic confusion: signed with the text of the public key, which everyone has."""
    for kid in ("rs", "ed"):
        assert Gate().refused(raw_token({"kid": kid, "alg": "HS256"}, GOOD_CLAIMS, secret=BY_KID[kid].key.encode())) == "token-invalid"


@pytest.mark.parametrize("header", [{"alg": "HS256"}, {"kid": "hs"}, {"kid": None, "alg": "HS256"}, {"kid": 7, "alg": "HS256"}, [], "hs", None, b"\xff", b""])
def test_a_header_has_to_say_kid_and_alg(header: object) -> None:
    assert Gate().refused(raw_token(header, GOOD_CLAIMS)) == "token-invalid"


def test_an_unknown_kid_is_nobody() -> None:
    assert Gate().refused(token(header={"kid": "other"})) == "token-invalid"
    assert Gate(KEYS[1]).refused(token("hs")) == "token-invalid"


# Claims


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "another"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"nbf": int(NOW_S) + 600},
    ],
    ids=str,
)
def test_wrong_claims(claims: dict[str, Any]) -> None:
    assert Gate().refused(token(**claims)) == "token-invalid"


@pytest.mark.parametrize("exp", [None, "soon", True, [], {}, "Infinity"])
def test_exp_is_a_number_and_needed(exp: object) -> None:
    claims = {name: value for name, value in (GOOD_CLAIMS | {"exp": exp}).items() if value is not None}
    assert Gate().refused(raw_token(GOOD_HEADER, claims)) == "token-invalid"


@pytest.mark.parametrize("sub", ["", " ", "a b", "u\n", "u\0", "홍길동", "u" * 129, 7, None, True, ["u1"], {"u": 1}])
def test_a_user_is_printable_ascii(sub: object) -> None:
    """It becomes Kafka's key and stands in nobody's way."""
    assert Gate().refused(raw_token(GOOD_HEADER, GOOD_CLAIMS | {"sub": sub})) == "token-invalid"


@pytest.mark.parametrize("sub", ["u", "u" * 128, "a@b.kr", "0190a6e2-7c1b-7d3a-9f54-2b8e6a1c0d37", "!~"])
def test_a_user_may_be_what_apps_use(sub: str) -> None:
    assert Gate().member(token(sub=sub)).user == sub


@pytest.mark.parametrize("exp", [1e308, 1e30, 253_402_300_800])
def test_an_exp_beyond_the_calendar_is_no_accident(exp: float) -> None:
    assert status(raw_token(GOOD_HEADER, GOOD_CLAIMS | {"exp": exp})) in (200, 401)


def status(signed: str) -> int:
    """200 for a member, else the refusal's; anything else raises."""
    with contextlib.suppress(Refusal):
        Gate().member(signed)
        return 200
    return 401


def test_an_audience_may_be_one_of_several() -> None:
    assert Gate().member(token(aud=["other", "sluicegate"])).user == "u1"


# Forgeries


def test_forgeries() -> None:
    gate = Gate()
    head, claims, signature = token().split(".")
    other_claims = base64url(json.dumps(GOOD_CLAIMS | {"sub": "victim"}).encode())
    forged = [
        f"{head}.{other_claims}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}.",
        f"{head}.{claims}",
        f"{head}.{claims}.{signature}.x",
        f"{head}.{claims}.{signature[:-1]}",
        token(key=b"x" * 32),
        raw_token({"kid": "hs", "alg": "none"}, GOOD_CLAIMS),
        base64url(json.dumps({"kid": "hs", "alg": "none"}).encode()) + f".{claims}.",
        "a.b.c",
        "....",
        "",
    ]
    for one in forged:
        assert gate.refused(one) == "token-invalid", one
    assert gate.counted("refused") == len(forged)
    assert gate.member(token()).user == "u1"


def test_a_forgery_of_a_remembered_token_is_not_remembered() -> None:
    """The cache knows the whole token, its signature included."""
    gate = Gate()
    good = token()
    gate.member(good)
    assert gate.refused(good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")) == "token-invalid"
    assert gate.member(good).user == "u1"


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_header_at_all_is_a_refusal(text: str) -> None:
    for authorization in (text, f"Bearer {text}"):
        with pytest.raises(Refusal) as caught:
            Gate().identity.member(authorization, NOW_S)
        assert caught.value.problem.status == 401
        assert text not in caught.value.detail or len(text) < 12


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD_CLAIMS, "nbf", "iat"]), inner),
        max_leaves=8,
    )
)
def test_signed_nonsense_is_still_nonsense(claims: object) -> None:
    """A key may leak into a careless hand; even then nothing here raises what is no Refusal."""
    whole = GOOD_CLAIMS | claims if isinstance(claims, dict) else claims
    assert status(raw_token(GOOD_HEADER, whole)) in (200, 401)


# Cheap looks first


def test_cheap_looks_come_before_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    decode = jwt.decode

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append("verified")
        return decode(*args, **kwargs)

    monkeypatch.setattr(jwt, "decode", counting)
    gate = Gate(token_bytes_max=1_000)
    cheap = [
        "x" * 1_001,
        "not.a token.x",
        token(header={"kid": "other"}),
        raw_token({"kid": "rs", "alg": "HS256"}, GOOD_CLAIMS),
        token(exp=int(NOW_S) - LEEWAY_S),
        raw_token(GOOD_HEADER, {"sub": "u1"}),
        raw_token(GOOD_HEADER, b"\xff"),
    ]
    for one in cheap:
        gate.refused(one)
    assert calls == []
    gate.refused(token(key=b"x" * 32))
    assert calls == ["verified"]
    for _ in range(5):
        gate.member(token())
    assert calls == ["verified"] * 2
    assert (gate.counted("cached"), gate.counted("verified"), gate.counted("refused")) == (4, 1, len(cheap) + 1)


@pytest.mark.parametrize("spare", [0, -1])
def test_the_bound_of_a_token_is_allowed(spare: int) -> None:
    good = token()
    gate = Gate(token_bytes_max=len(good) + spare)
    if spare < 0:
        assert gate.refused(good) == "token-invalid"
    else:
        gate.member(good)


# The cache


def test_a_remembered_token_is_good_until_its_exp_and_not_a_moment_longer() -> None:
    gate = Gate()
    good = token()
    end_s = NOW_S + 3_600 + LEEWAY_S
    gate.member(good)
    assert gate.member(good, end_s - 0.001).user == "u1"
    assert gate.counted("cached") == 1
    assert gate.refused(good, end_s) == "token-expired"
    assert gate.refused(good, end_s + 10_000) == "token-expired"
    assert gate.member(good, NOW_S).user == "u1"  # a clock that stepped back


def test_time_is_an_argument() -> None:
    """Ten years from now, and ten years ago."""
    for shift_s in (-315_000_000, 315_000_000):
        at_s = NOW_S + shift_s
        assert Gate().member(token(exp=int(at_s) + 60, iat=int(at_s), nbf=int(at_s)), at_s).user == "u1"
        assert Gate().refused(token(exp=int(at_s) + 600, nbf=int(at_s) + 60), at_s) == "token-invalid"


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    gate = Gate(cache_max=3)
    tokens = [token(sub=f"u{n}") for n in range(5)]
    for one in tokens:
        gate.member(one)
        assert len(gate.identity._cache) <= 3
    for one in tokens[2:]:
        gate.member(one)
    assert gate.counted("cached") == 3
    gate.member(tokens[0])
    assert gate.counted("verified") == 6


def test_a_reload_forgets_every_token() -> None:
    gate = Gate()
    good, other = token("hs"), token("ed")
    gate.member(good)
    gate.identity.reload(KEYS[1:])
    assert gate.refused(good) == "token-invalid"
    assert gate.member(other).user == "u1"


def test_a_kid_whose_key_changed_is_checked_with_the_new_one() -> None:
    gate = Gate()
    good = token()
    gate.member(good)
    gate.identity.reload([TokenKey("hs", "HS256", base64url(b"another secret of enough length!"))])
    assert gate.refused(good) == "token-invalid"


def test_neither_token_nor_user_can_be_read_from_the_cache() -> None:
    gate = Gate()
    good = token()
    gate.member(good)
    [digest] = gate.identity._cache
    assert len(digest) == 16
    other = Gate()
    other.member(good)
    assert [*other.identity._cache] != [digest]


# Keys


def test_keys_that_cannot_verify_are_found_at_start() -> None:
    check_keys(KEYS)
    for kid, alg, text in [("a", "RS256", "not PEM"), ("b", "EdDSA", "not PEM"), ("c", "RS256", ED[0]), ("d", "EdDSA", RSA[0])]:
        with pytest.raises(ConfigError, match=f"kid {kid}: not a key for {alg}") as caught:
            check_keys([TokenKey(kid, alg, text)])  # type: ignore[arg-type]
        assert "not PEM" not in str(caught.value)


@pytest.mark.parametrize("kid", BY_KID)
def test_what_is_minted_is_good(kid: str) -> None:
    minted = mint([BY_KID[kid]], Settings(), "u1", NOW_S, 60)
    member = Gate().member(minted)
    assert (member.user, member.expires_s) == ("u1", int(NOW_S) + 60 + LEEWAY_S)


def test_what_cannot_be_minted() -> None:
    verify_only = TokenKey("rs", "RS256", RSA[0])
    with pytest.raises(ConfigError, match="can sign"):
        mint([verify_only], Settings(), "u1", NOW_S, 60)
    with pytest.raises(ConfigError, match="--user"):
        mint(KEYS, Settings(), "홍길동", NOW_S, 60)
    assert jwt.get_unverified_header(mint([verify_only, KEYS[2]], Settings(), "u1", NOW_S, 60))["kid"] == "ed"
