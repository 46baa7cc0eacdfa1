"""Logging in: what is kept, who is let in, how long, and how often a password can be guessed."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine, select, text

from db import annotators, audit, clock, logins
from db.engine import reading, writing
from db.errors import StoreError
from db.logins import LIFETIME, PER_ADDRESS, PER_NAME, WINDOW, LoginRefused
from db.tables import Annotator, Login, LoginFailure

HERE = "192.0.2.1"
SECRET = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that cost nothing: these tests check many passwords."""
    monkeypatch.setattr(logins, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    logins._hash_of_nobody.cache_clear()
    yield
    logins._hash_of_nobody.cache_clear()


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Lets time pass on the store's clock."""
    moments = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: moments[0])

    def wait(time: timedelta) -> None:
        moments[0] += time

    return wait


def person(engine: Engine, name: str = "ann", password: str | None = SECRET) -> int:
    with writing(engine) as session:
        annotator_id = annotators.add(session, name).id
        if password:
            logins.set_password(session, annotator_id, password, "root")
    return annotator_id


def guess(engine: Engine, name: str = "ann", password: str = "wrong password", address: str = HERE) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        logins.open_login(engine, name, password, address)
    return caught.value


def who(engine: Engine, token: str) -> str | None:
    annotator = logins.person_of(engine, token)
    return annotator.name if annotator else None


def test_the_right_password_logs_in_and_the_token_says_who(engine: Engine) -> None:
    person(engine)
    person(engine, "bob", "another password")
    token = logins.open_login(engine, " ann ", SECRET, HERE)
    other = logins.open_login(engine, "bob", "another password", HERE)
    assert (who(engine, token), who(engine, other)) == ("ann", "bob")
    assert token != logins.open_login(engine, "ann", SECRET, HERE)


def test_neither_password_nor_token_is_in_the_store(engine: Engine) -> None:
    person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    with reading(engine) as session:
        kept = repr([*session.execute(text("SELECT * FROM annotator")), *session.execute(text("SELECT * FROM login"))])
        kept += repr([event.details for event in audit.events(session)])
    assert "$argon2id$" in kept
    assert SECRET not in kept
    assert token not in kept


@pytest.mark.parametrize("token", ["", "x", "\x00", "é" * 5000, "\ud800"])
def test_a_token_that_was_never_given_is_nobodys(engine: Engine, token: str) -> None:
    assert who(engine, token) is None


@pytest.mark.parametrize("name", ["ann", "nobody", "", "an\x00n", "\x00", "x" * 5000, "<b>ann</b>", "' OR 1=1 --"])
def test_a_refusal_says_the_same_whether_or_not_the_name_exists(engine: Engine, name: str) -> None:
    person(engine)
    refusal = guess(engine, name)
    assert str(refusal) == "this name and this password do not belong together; try again"
    assert refusal.wait == timedelta(0)


def test_a_refusal_costs_a_check_whether_or_not_the_name_exists(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(engine)
    person(engine, "carl", password=None)
    checked: list[str] = []
    check = logins._fits
    monkeypatch.setattr(logins, "_fits", lambda stored, password: checked.append(stored) or check(stored, password))
    for name in ("ann", "nobody", "carl"):
        guess(engine, name)
    assert len(checked) == 3
    assert all(stored.startswith("$argon2id$v=19$m=8,t=1,p=1$") for stored in checked)


@pytest.mark.parametrize(
    "password", ["", "123456789", "é" * 9, "x" * 1001], ids=["empty", "nine", "nine letters of two bytes", "1001"]
)
def test_a_password_too_short_or_too_long_is_refused_with_its_length(engine: Engine, password: str) -> None:
    ann = person(engine)
    with (
        pytest.raises(StoreError, match=rf"has {len(password):,} characters; choose one of 10 to 1,000"),
        writing(engine) as session,
    ):
        logins.set_password(session, ann, password)
    assert logins.open_login(engine, "ann", SECRET, HERE)


@pytest.mark.parametrize("password", ["1234567890", "x" * 1000, "пароль и ещё", "\x00" * 10, "\ud800" * 10])
def test_any_text_of_the_right_length_can_be_a_password(engine: Engine, password: str) -> None:
    person(engine, password=password)
    assert logins.open_login(engine, "ann", password, HERE)
    guess(engine, "ann", password[:-1])


def test_an_accent_typed_as_two_characters_is_the_same_password(engine: Engine) -> None:
    person(engine, password="caf\u00e9 au lait")
    assert logins.open_login(engine, "ann", "cafe\u0301 au lait", HERE)


def test_a_hash_with_other_parameters_is_made_anew_when_its_password_is_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(engine)
    logins.open_login(engine, "ann", SECRET, HERE)
    with reading(engine) as session:
        before = annotators.get(session, ann).password_hash
    monkeypatch.setattr(logins, "_HASHER", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    token = logins.open_login(engine, "ann", SECRET, HERE)
    with reading(engine) as session:
        after = annotators.get(session, ann).password_hash
    assert before is not None and "m=8,t=1" in before
    assert after is not None and "m=16,t=2" in after
    assert logins.open_login(engine, "ann", SECRET, HERE) and who(engine, token) == "ann"


def test_the_default_hash_is_argon2id_as_its_library_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert logins._HASHER.hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_sixth_attempt_within_the_window_is_refused_right_password_or_not(
    engine: Engine, wait: Callable[[timedelta], None]
) -> None:
    person(engine)
    for _ in range(PER_NAME):
        assert guess(engine).wait == timedelta(0)
        wait(timedelta(minutes=1))
    refusal = guess(engine, password=SECRET, address="198.51.100.7")
    assert str(refusal) == "too many wrong passwords; wait 10 minutes and try again"
    assert refusal.wait == timedelta(minutes=10)
    assert guess(engine, "nobody").wait == timedelta(0)
    wait(refusal.wait - timedelta(seconds=1))
    assert str(guess(engine, password=SECRET)) == "too many wrong passwords; wait 1 minute and try again"
    wait(timedelta(seconds=1))
    assert logins.open_login(engine, "ann", SECRET, HERE)


def test_a_name_that_does_not_exist_is_limited_as_well(engine: Engine) -> None:
    for _ in range(PER_NAME):
        guess(engine, "nobody")
    assert guess(engine, "nobody").wait > timedelta(0)


def test_twenty_failures_from_one_address_close_it_to_every_name_and_no_other_address(engine: Engine) -> None:
    person(engine)
    for number in range(PER_ADDRESS):
        assert guess(engine, f"name {number}").wait == timedelta(0)
    assert guess(engine, password=SECRET).wait > timedelta(0)
    assert logins.open_login(engine, "ann", SECRET, "198.51.100.7")


def test_a_refused_attempt_does_not_prolong_the_wait_and_old_failures_are_deleted(
    engine: Engine, wait: Callable[[timedelta], None]
) -> None:
    person(engine)
    for _ in range(PER_NAME):
        guess(engine)
    for _ in range(3):
        wait(timedelta(minutes=4))
        guess(engine)
    wait(timedelta(minutes=3))
    assert guess(engine).wait == timedelta(0)
    with reading(engine) as session:
        assert len(session.scalars(select(LoginFailure)).all()) == 1


def test_old_failures_are_deleted_while_anybody_is_there(engine: Engine, wait: Callable[[timedelta], None]) -> None:
    person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    guess(engine, "a password, typed in the wrong field")
    wait(WINDOW)
    assert who(engine, token) == "ann"
    with reading(engine) as session:
        assert session.scalars(select(LoginFailure)).all() == []


def test_the_right_password_forgets_the_typing_errors_before_it(engine: Engine) -> None:
    person(engine)
    for _ in range(3):
        for _ in range(PER_NAME - 1):
            guess(engine)
        logins.open_login(engine, "ann", SECRET, HERE)
    with reading(engine) as session:
        assert session.scalars(select(LoginFailure)).all() == []


def test_a_new_password_ends_the_wait(engine: Engine) -> None:
    ann = person(engine)
    for _ in range(PER_NAME):
        guess(engine)
    with writing(engine) as session:
        logins.set_password(session, ann, "a new password", "root")
    assert logins.open_login(engine, "ann", "a new password", HERE)


def test_what_others_guess_while_a_password_is_checked_counts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    person(engine)
    check = logins._fits

    def others_are_quicker(stored: str, password: str) -> bool:
        monkeypatch.setattr(logins, "_fits", check)
        for _ in range(PER_NAME):
            guess(engine)
        return check(stored, password)

    monkeypatch.setattr(logins, "_fits", others_are_quicker)
    assert guess(engine, password=SECRET).wait > timedelta(0)


def test_a_login_lasts_as_long_as_it_is_used(engine: Engine, wait: Callable[[timedelta], None]) -> None:
    person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    for _ in range(3):
        wait(LIFETIME - timedelta(seconds=1))
        assert who(engine, token) == "ann"
    wait(LIFETIME)
    assert who(engine, token) is None


def test_being_seen_is_written_at_most_once_a_minute(engine: Engine, wait: Callable[[timedelta], None]) -> None:
    ann = person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    opened = clock.now()
    wait(timedelta(seconds=59))
    who(engine, token)
    with reading(engine) as session:
        assert logins.last_seen(session) == {ann: opened}
    wait(timedelta(seconds=1))
    who(engine, token)
    with reading(engine) as session:
        assert logins.last_seen(session) == {ann: opened + timedelta(minutes=1)}


def test_an_expired_login_is_deleted_by_the_next_one(engine: Engine, wait: Callable[[timedelta], None]) -> None:
    person(engine)
    logins.open_login(engine, "ann", SECRET, HERE)
    wait(LIFETIME)
    logins.open_login(engine, "ann", SECRET, HERE)
    with reading(engine) as session:
        assert len(session.scalars(select(Login)).all()) == 1


def test_logging_out_ends_one_login_for_good(engine: Engine) -> None:
    person(engine)
    here, there = (logins.open_login(engine, "ann", SECRET, HERE) for _ in range(2))
    for _ in range(2):
        with writing(engine) as session:
            logins.revoke(session, here)
            logins.revoke(session, "never given")
    assert (who(engine, here), who(engine, there)) == (None, "ann")
    with reading(engine) as session:
        assert [event.action for event in audit.events(session, "annotator")].count("log out") == 1


@pytest.mark.parametrize("act", ["logout everywhere", "password", "disable", "withdraw"])
def test_what_ends_every_login_of_a_person_ends_nobody_elses(engine: Engine, act: str) -> None:
    ann = person(engine)
    person(engine, "bob")
    tokens = [logins.open_login(engine, "ann", SECRET, HERE) for _ in range(2)]
    bobs = logins.open_login(engine, "bob", SECRET, HERE)
    with writing(engine) as session:
        match act:
            case "logout everywhere":
                logins.revoke_all(session, ann, "root")
            case "password":
                logins.set_password(session, ann, SECRET, "root")
            case "disable":
                annotators.disable(session, ann, "root")
            case "withdraw":
                annotators.withdraw(session, ann, "root")
    assert [who(engine, token) for token in tokens] == [None, None]
    assert who(engine, bobs) == "bob"


def test_one_who_was_disabled_can_log_in_again_once_enabled_and_old_tokens_stay_dead(engine: Engine) -> None:
    ann = person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    with writing(engine) as session:
        annotators.disable(session, ann, "root")
    assert guess(engine, password=SECRET).wait == timedelta(0)
    with writing(engine) as session:
        annotators.enable(session, ann, "root")
        annotators.enable(session, ann, "root")
        assert [event.action for event in audit.events(session, "annotator", ann)].count("enable") == 1
    assert who(engine, token) is None
    assert who(engine, logins.open_login(engine, "ann", SECRET, HERE)) == "ann"


def test_a_simulated_annotator_never_logs_in(engine: Engine) -> None:
    with writing(engine) as session:
        robot = annotators.ensure(session, "robot", "simulated", taste={"likes": "short"})
        with pytest.raises(StoreError, match="robot is simulated and never logs in"):
            logins.set_password(session, robot.id, SECRET)
        robot.password_hash = logins._HASHER.hash(SECRET)  # as if by other means
    guess(engine, "robot", SECRET)


def test_changing_ones_password_needs_the_old_one_and_logs_out_everywhere(engine: Engine) -> None:
    ann = person(engine)
    token = logins.open_login(engine, "ann", SECRET, HERE)
    with pytest.raises(LoginRefused, match="do not belong together"):
        logins.change_password(engine, ann, "wrong password", "a new password", HERE)
    with pytest.raises(StoreError, match="has 5 characters"):
        logins.change_password(engine, ann, SECRET, "short", HERE)
    assert who(engine, token) == "ann"
    logins.change_password(engine, ann, SECRET, "a new password", HERE)
    assert who(engine, token) is None
    guess(engine, password=SECRET)
    assert logins.open_login(engine, "ann", "a new password", HERE)


def test_the_first_secret_is_made_once_and_opens_an_admin(engine: Engine) -> None:
    with writing(engine) as session:
        secret = logins.first_secret(session)
        assert secret is not None and len(secret) >= 16
        assert logins.first_secret(session) is None
    annotator = logins.person_of(engine, logins.open_login(engine, "admin", secret, HERE))
    assert annotator is not None and annotator.role == "admin"


def test_an_admin_of_another_name_is_enough_while_they_can_log_in(engine: Engine) -> None:
    ann = person(engine)
    with writing(engine) as session:
        annotators.set_role(session, ann, "admin", "root")
        assert logins.first_secret(session) is None
        annotators.add(session, "an admin without a password", "admin")
        annotators.disable(session, ann, "root")
        secret = logins.first_secret(session)
    assert secret is not None
    assert logins.open_login(engine, "admin", secret, HERE)


def test_a_disabled_admin_gets_no_first_secret_but_the_remedy(engine: Engine) -> None:
    with writing(engine) as session:
        annotators.add(session, "an admin without a password", "admin")
        annotators.disable(session, annotators.ensure(session, "admin", "human", role="admin").id)
        with pytest.raises(StoreError, match=r"prefloop users add NAME --role admin"):
            logins.first_secret(session)


def test_a_person_of_a_provider_is_known_by_issuer_and_subject_and_never_by_name(engine: Engine) -> None:
    person(engine, "Ann")
    with writing(engine) as session:
        first = logins.ensure_oidc(session, "https://id.example.org", "17", "Ann")
        again = logins.ensure_oidc(session, "https://id.example.org", "17", "Ann Smith")
        elsewhere = logins.ensure_oidc(session, "https://other.example.org", "17", "Ann")
        nameless = logins.ensure_oidc(session, "https://id.example.org", "18", "\x00 ")
        assert (first.name, first.role, first.kind, first.password_hash) == ("Ann 2", "annotator", "human", None)
        assert again.id == first.id
        assert (elsewhere.name, nameless.name) == ("Ann 3", "somebody")
        assert {first.id, elsewhere.id, nameless.id}.isdisjoint({annotators.by_name(session, "Ann").id})
        assert len(session.scalars(select(Annotator)).all()) == 4
        assert [event.action for event in audit.events(session, "annotator", first.id)] == ["join"]


def test_the_first_person_of_a_provider_is_no_admin(engine: Engine) -> None:
    with writing(engine) as session:
        assert logins.ensure_oidc(session, "https://id.example.org", "1", "admin").role == "annotator"


def test_a_person_of_a_provider_has_no_password_to_guess(engine: Engine) -> None:
    with writing(engine) as session:
        logins.ensure_oidc(session, "https://id.example.org", "1", "ann")
    guess(engine, "ann", "")
