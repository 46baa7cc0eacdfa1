"""Who is logged in: passwords, the tokens of browsers, a limit on guessing, and people known by OpenID Connect.

Of a password the store keeps an argon2id hash, of a token the sha256: neither can be got back.

What takes an engine is several transactions: checking a password takes a good part of a second, in which nobody else
shall wait to write, and a wrong one is kept although its login is refused.
"""

import functools
import math
import secrets
import unicodedata
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from . import annotators, audit, clock
from .annotators import clean_name
from .engine import reading, writing
from .errors import StoreError
from .hashing import sha256_text
from .tables import Annotator, Login, LoginFailure
from .upsert import upsert

SHORTEST, LONGEST = 10, 1_000  # characters of a password
LIFETIME = timedelta(days=14)  # of a login, from when it was last seen
SEEN_EVERY = timedelta(minutes=1)  # how precisely that is known: a page's run reads, and seldom writes
WINDOW = timedelta(minutes=15)  # how long a wrong password counts
PER_NAME, PER_ADDRESS = 5, 20  # so many wrong ones in the window, and no further attempt is heard
FIRST_ADMIN = "admin"

_HASHER = PasswordHasher()
_USABLE = (Annotator.kind == "human", Annotator.disabled_at.is_(None), Annotator.withdrawn_at.is_(None))


class LoginRefused(StoreError):
    """Nobody was logged in. No attempt is heard for `wait`; zero when the next one is."""

    def __init__(self, message: str, wait: timedelta = timedelta(0)) -> None:
        super().__init__(message)
        self.wait = wait


def new_password() -> str:
    """A password that nobody guesses: 96 bits in 16 characters."""
    return secrets.token_urlsafe(12)


def set_password(session: Session, annotator_id: int, password: str, actor: str = audit.SYSTEM) -> None:
    """Give the annotator this password, log them out everywhere, and forget what was guessed wrongly.

    StoreError when it is too short or too long, or the annotator is simulated: those never log in.
    """
    annotator = annotators.get(session, annotator_id)
    if annotator.kind == "simulated":
        raise StoreError(f"annotator {annotator.name} is simulated and never logs in; choose a person")
    if not SHORTEST <= len(password) <= LONGEST:
        raise StoreError(f"the password has {len(password):,} characters; choose one of {SHORTEST} to {LONGEST:,}")
    annotator.password_hash = _HASHER.hash(_bytes(password))
    annotators.end_logins(session, annotator.id)
    session.execute(delete(LoginFailure).where(LoginFailure.name == annotator.name))
    audit.record(session, actor, "set password", "annotator", annotator.id)


def change_password(engine: Engine, annotator_id: int, old: str, new: str, address: str) -> None:
    """Replace one's own password, which logs out everywhere. LoginRefused unless `old` is right: see `open_login`."""
    with reading(engine) as session:
        name = annotators.get(session, annotator_id).name
    _prove(engine, name, old, address)
    with writing(engine) as session:
        set_password(session, annotator_id, new, name)


def open_login(engine: Engine, name: str, password: str, address: str) -> str:
    """The token of a new login, which ends when it has not been seen for LIFETIME.

    LoginRefused when name and password do not belong together; it takes as long, and says the same, whether or not
    the name exists. Also, right password or not, while too many wrong ones count against the name or the address.
    """
    annotator = _prove(engine, name, password, address)
    token = secrets.token_urlsafe(32)
    now = clock.now()
    with writing(engine) as session:
        session.execute(delete(Login).where(Login.expires_at <= now))
        session.add(
            Login(
                token_sha256=sha256_text(token), annotator_id=annotator.id,
                created_at=now, seen_at=now, expires_at=now + LIFETIME,
            )
        )  # fmt: skip
        audit.record(session, annotator.name, "log in", "annotator", annotator.id)
    return token


def person_of(engine: Engine, token: str) -> Annotator | None:
    """Who is logged in with this token; None when it is unknown, expired or revoked, or they may not act any more.

    Seeing them prolongs the login: one read, and a write at most once in SEEN_EVERY.
    """
    now = clock.now()
    login = (Login.token_sha256 == sha256_text(token), Login.revoked_at.is_(None), Login.expires_at > now)
    query = select(Annotator, Login.seen_at).join(Login).where(*login, *_USABLE)
    with reading(engine) as session:
        found = session.execute(query).one_or_none()
    if found is None:
        return None
    annotator, seen_at = found
    if now - seen_at >= SEEN_EVERY:
        with writing(engine) as session:
            session.execute(update(Login).where(*login).values(seen_at=now, expires_at=now + LIFETIME))
            _forget_failures(session)
    return annotator


def revoke(session: Session, token: str) -> None:
    """Log out the browser that holds this token; a token that is unknown or was revoked before changes nothing."""
    query = select(Login).where(Login.token_sha256 == sha256_text(token), Login.revoked_at.is_(None))
    login = session.scalars(query).one_or_none()
    if login is not None:
        login.revoked_at = clock.now()
        annotator = annotators.get(session, login.annotator_id)
        audit.record(session, annotator.name, "log out", "annotator", annotator.id)


def revoke_all(session: Session, annotator_id: int, actor: str = audit.SYSTEM) -> None:
    """Log the annotator out everywhere."""
    annotator = annotators.get(session, annotator_id)
    annotators.end_logins(session, annotator.id)
    audit.record(session, actor, "log out everywhere", "annotator", annotator.id)


def last_seen(session: Session) -> dict[int, datetime]:
    """When the browsers of each annotator were last seen, by id; logins that expired are not remembered."""
    rows = session.execute(select(Login.annotator_id, func.max(Login.seen_at)).group_by(Login.annotator_id))
    return dict(rows.tuples().all())


def first_secret(session: Session) -> str | None:
    """A new password for the annotator FIRST_ADMIN, made an admin, when no admin can log in; otherwise None.

    It is to be shown once: the store keeps only its hash. StoreError when that annotator was disabled or withdrew.
    """
    can_log_in = select(Annotator.id).where(Annotator.role == "admin", Annotator.password_hash.is_not(None), *_USABLE)
    if session.scalars(can_log_in.limit(1)).first() is not None:
        return None
    admin = annotators.ensure(session, FIRST_ADMIN, "human", role="admin")
    if admin.disabled_at or admin.withdrawn_at:
        raise StoreError(
            f"no admin can log in, and annotator {FIRST_ADMIN} may not; run `prefloop users add NAME --role admin`"
        )
    annotators.set_role(session, admin.id, "admin")
    password = new_password()
    set_password(session, admin.id, password)
    return password


def of_oidc(session: Session, issuer: str, subject: str) -> Annotator | None:
    """The annotator whom the provider `issuer` knows as `subject`, if they were here before."""
    query = select(Annotator).where(Annotator.oidc_issuer == issuer, Annotator.oidc_subject == subject)
    return session.scalars(query).one_or_none()


def ensure_oidc(session: Session, issuer: str, subject: str, name: str) -> Annotator:
    """The annotator whom the provider `issuer` knows as `subject`, made with the role annotator if there is none.

    The name is a wish: it is nobody's proof, so one that is taken gets a number. A known annotator keeps theirs.
    """
    insert = upsert(session, Annotator).on_conflict_do_nothing()  # on the name, or on another browser's same wish
    wish = clean_name(name)[:50] or "somebody"
    tries = 0
    while (annotator := of_oidc(session, issuer, subject)) is None:
        tries += 1
        free = wish if tries == 1 else f"{wish} {tries}"
        session.execute(
            insert.values(name=free, kind="human", role="annotator", oidc_issuer=issuer, oidc_subject=subject)
        )
    if tries:
        audit.record(session, annotator.name, "join", "annotator", annotator.id, {"issuer": issuer})
    return annotator


def _prove(engine: Engine, name: str, password: str, address: str) -> Annotator:
    """The annotator of that name, whose password this is; LoginRefused as `open_login` says. A failure is kept."""
    name = clean_name(name)
    with reading(engine) as session:
        _hear(session, name, address)
        known = select(Annotator).where(Annotator.name == name, Annotator.password_hash.is_not(None), *_USABLE)
        annotator = session.scalars(known).one_or_none()
    stored = _hash_of_nobody()  # first, so that asking for it tells nothing
    if annotator and annotator.password_hash:
        stored = annotator.password_hash
    fits = _fits(stored, password)
    with writing(engine) as session:
        _hear(session, name, address)  # what others guessed meanwhile counts too
        _forget_failures(session)
        if annotator and fits:
            session.execute(delete(LoginFailure).where(LoginFailure.name == name))
            if _HASHER.check_needs_rehash(stored):
                annotators.get(session, annotator.id).password_hash = _HASHER.hash(_bytes(password))
            return annotator
        session.add(LoginFailure(name=name, address=address))
    raise LoginRefused("this name and this password do not belong together; try again")


def _hear(session: Session, name: str, address: str) -> None:
    """LoginRefused while too many failures count against the name or the address."""
    now = clock.now()
    until = now
    for column, value, most in ((LoginFailure.name, name, PER_NAME), (LoginFailure.address, address, PER_ADDRESS)):
        counted = select(LoginFailure.at).where(column == value, LoginFailure.at > now - WINDOW)
        # When the newest but `most` leaves the window, one less than `most` are left in it.
        newest_but_most = session.scalars(counted.order_by(LoginFailure.at.desc()).offset(most - 1).limit(1)).first()
        if newest_but_most is not None:
            until = max(until, newest_but_most + WINDOW)
    if until > now:
        minutes = math.ceil((until - now) / timedelta(minutes=1))
        raise LoginRefused(
            f"too many wrong passwords; wait {minutes} minute{'' if minutes == 1 else 's'} and try again", until - now
        )


def _forget_failures(session: Session) -> None:
    """Delete those that count no more: what was typed, and from where, is nobody's business then."""
    session.execute(delete(LoginFailure).where(LoginFailure.at <= clock.now() - WINDOW))


@functools.cache
def _hash_of_nobody() -> str:
    """What is checked in vain for a name that does not exist, so that the answer takes as long."""
    return _HASHER.hash(new_password())


def _fits(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, _bytes(password))
    except VerifyMismatchError:
        return False


def _bytes(password: str) -> bytes:
    """One spelling of what was typed: keyboards differ in how they compose an accented letter."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
