"""The composition root: `create_app(settings)` puts the nouns together, `main` is `carnet`."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, redirect
from flask_cors import CORS
from flask_smorest import Api
from flask_swagger_ui import get_swaggerui_blueprint
from marshmallow import ValidationError
from pymongo.database import Database
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import loyalty.audit.owing
import loyalty.audit.views
import loyalty.batches.views
import loyalty.catalogue.views
import loyalty.consent.views
import loyalty.coupons.views
import loyalty.households.views
import loyalty.jobs.views
import loyalty.journal.views
import loyalty.members.views
import loyalty.operation.views
import loyalty.referrals.views
import loyalty.rewards.views
import loyalty.simulation.jobs
import loyalty.simulation.views
import loyalty.transfers.views
import loyalty.versions.views
import recommend.views
from loyalty.access import model as keys
from loyalty.access.links import LinkMint
from loyalty.access.secrets import SecretError, derive, root_secret
from loyalty.access.service import Gatekeeper
from loyalty.access.store import KeyStore
from loyalty.access.tokens import TokenMint
from loyalty.audit import tables, upkeep
from loyalty.audit.service import Scope, audit
from loyalty.batches.service import Ground, Turnstile
from loyalty.batches.store import TillStore
from loyalty.catalogue.store import CatalogueStore
from loyalty.consent.store import ConsentStore
from loyalty.coupons.codes import CouponMint
from loyalty.coupons.service import Coupons
from loyalty.coupons.store import CouponStore
from loyalty.households.store import HouseholdStore
from loyalty.importing.complete_journey import REWARDS, Journey
from loyalty.importing.service import import_journey
from loyalty.jobs.runner import Runner
from loyalty.jobs.store import JobStore
from loyalty.journal.drafts import Stores
from loyalty.journal.scan import JournalScan
from loyalty.journal.secrecy import Secrecy
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedDatabaseError, attach_or_start
from loyalty.kit.fields import OneOf
from loyalty.kit.http import invalid
from loyalty.kit.mongo import Document, connect, open_database
from loyalty.kit.observe import configure_logs
from loyalty.kit.service import Service
from loyalty.kit.settings import Settings, SettingsError
from loyalty.kit.supervisor import StopAsked, owned_database, serve, stop_on_signals
from loyalty.members.store import MemberStore
from loyalty.messages.store import Outbox
from loyalty.referrals.store import ReferralStore
from loyalty.rewards.orders import Redeeming
from loyalty.rewards.store import RewardStore
from loyalty.simulation.model import EmptyPeriodError, question_of
from loyalty.simulation.result import body_of, tables_of
from loyalty.simulation.schemas import SimulationSchema
from loyalty.simulation.service import Sources as PastSources
from loyalty.simulation.service import simulate
from loyalty.vault.masters import MasterKeyError, masters_of
from loyalty.vault.store import Vault
from loyalty.versions.model import InvalidProgramError, NoProgramError
from loyalty.versions.service import ProgramShelf, require_sound
from loyalty.versions.store import VersionStore
from recommend.artefact import Shelf
from recommend.jobs import train_and_promote
from recommend.service import Popularity, Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from marshmallow import Schema
    from marshmallow.fields import Field

    from loyalty.jobs.model import JobKinds

BLUEPRINTS = (
    loyalty.members.views.blp,
    loyalty.referrals.views.blp,
    loyalty.households.views.blp,
    loyalty.journal.views.blp,
    loyalty.batches.views.blp,
    loyalty.versions.views.blp,
    loyalty.simulation.views.blp,
    loyalty.audit.views.blp,
    loyalty.transfers.views.blp,
    loyalty.consent.views.blp,
    loyalty.catalogue.views.blp,
    loyalty.coupons.views.blp,
    loyalty.rewards.views.blp,
    loyalty.jobs.views.blp,
    recommend.views.blp,
    loyalty.operation.views.blp,
)
DESCRIPTION = (
    "Points for what a member does on any channel, and recommendations that respect consent. "
    "Every error is `application/problem+json` (RFC 9457) with a stable `code`."
)


class Parts(NamedTuple):
    """The stores over one database."""

    database: Database[Document]
    keys: KeyStore
    tokens: TokenMint
    links: LinkMint
    vault: Vault
    outbox: Outbox
    members: MemberStore
    consents: ConsentStore
    catalogue: CatalogueStore
    versions: VersionStore
    journal: JournalStore
    secrecy: Secrecy
    coupons: CouponStore
    coupon_mint: CouponMint
    jobs: JobStore
    referrals: ReferralStore
    households: HouseholdStore
    rewards: RewardStore
    tills: TillStore

    @property
    def stores(self) -> Stores:
        """What recording an activity touches."""
        return Stores(
            self.journal, self.members, self.consents, self.catalogue, ProgramShelf(self.versions)
        )

    @property
    def scan(self) -> JournalScan:
        """All journals, for what looks at the whole shop."""
        return JournalScan(self.database, self.secrecy)

    @property
    def sources(self) -> Sources:
        """What a recommendation reads."""
        return Sources(self.journal, self.consents, self.members, self.catalogue)


def assemble(settings: Settings, uri: str) -> Parts:
    """The stores of a database. Nothing connects before it is used."""
    client = connect(uri, timeout_seconds=settings.database_timeout_seconds)
    database = open_database(client, settings.database)
    root = root_secret(settings)
    vault = Vault(open_database(client, settings.vault_database), masters_of(settings))
    # Never rotated: a receipt that came once is known by it for ever.
    secrecy = Secrecy(derive(root, "fact-keys"), vault)
    return Parts(
        database=database,
        keys=KeyStore(database),
        tokens=TokenMint(derive(root, "member-tokens")),
        links=LinkMint(derive(root, "links")),
        vault=vault,
        outbox=Outbox(database, vault),
        members=MemberStore(
            database,
            pepper=derive(root, "identifier-lookup"),
            display_key=derive(root, "identifier-display"),
        ),
        consents=ConsentStore(database),
        catalogue=CatalogueStore(database, timeout_seconds=settings.database_timeout_seconds),
        versions=VersionStore(database),
        journal=JournalStore(database, secrecy, timeout_seconds=settings.database_timeout_seconds),
        secrecy=secrecy,
        coupons=CouponStore(database),
        coupon_mint=CouponMint(
            seed=derive(root, "coupon-signing"), short_key=derive(root, "coupon-short-codes")
        ),
        jobs=JobStore(database),
        referrals=ReferralStore(database),
        households=HouseholdStore(database, display_key=derive(root, "household-display")),
        rewards=RewardStore(database),
        tills=TillStore(database),
    )


def initialise(settings: Settings, parts: Parts) -> None:
    """Create the indexes and check the secret. Idempotent; runs at every start.

    Raises:
        SecretError: the database was written under another secret.
    """
    for store in (
        parts.vault,
        parts.outbox,
        parts.members,
        parts.consents,
        parts.catalogue,
        parts.versions,
        parts.journal,
        parts.coupons,
        parts.jobs,
        parts.referrals,
        parts.households,
        parts.rewards,
        parts.tills,
    ):
        store.create_indexes()
    check = derive(root_secret(settings), "check").hex()
    kept = parts.database["meta"].find_one_and_update(
        {"_id": "secret"}, {"$setOnInsert": {"check": check}}, upsert=True, return_document=True
    )
    if kept is None or not hmac.compare_digest(kept["check"], check):
        raise SecretError(
            "The database was written under another secret: identifiers could not be found. "
            "Set CARNET_SECRET (or the data directory's file `secret`) to the one it was made with."
        )


def job_kinds(parts: Parts) -> JobKinds:
    """What a job can be, by name: the function that carries it out over these stores."""
    scan, stores = parts.scan, parts.stores
    return {
        loyalty.simulation.jobs.KIND: loyalty.simulation.jobs.job(PastSources(scan, stores)),
        loyalty.audit.owing.KIND: loyalty.audit.owing.job(scan, stores, now),
    }


def create_app(settings: Settings | None = None) -> Flask:
    """The service, ready to answer.

    Args:
        settings: read from the environment if absent. `mongodb_uri` must name a database: whoever
            starts the service (`carnet serve`) owns the embedded one.
    """
    settings = settings or Settings.from_environment()
    configure_logs()
    parts = assemble(settings, settings.mongodb_uri)
    app = Service("carnet", settings, admit=Gatekeeper(parts.keys, parts.tokens).admit)
    sources = parts.sources
    stores = parts.stores
    runner = Runner(parts.jobs, job_kinds(parts), at_once=settings.jobs_at_once)
    app.background.append(runner)
    app.extensions["carnet"] = {
        Settings: settings,
        Database: parts.database,
        TokenMint: parts.tokens,
        LinkMint: parts.links,
        Vault: parts.vault,
        Outbox: parts.outbox,
        MemberStore: parts.members,
        ConsentStore: parts.consents,
        CatalogueStore: parts.catalogue,
        Coupons: Coupons(parts.coupons, parts.coupon_mint, parts.members, stores),
        ReferralStore: parts.referrals,
        HouseholdStore: parts.households,
        RewardStore: parts.rewards,
        Redeeming: Redeeming(stores, parts.rewards, parts.households),
        JobStore: parts.jobs,
        JournalScan: parts.scan,
        Runner: runner,
        ProgramShelf: stores.programs,
        Stores: stores,
        Ground: Ground(stores, parts.tills, settings.database_timeout_seconds),
        # A quarter of the threads at most: the rest is for the tills that are online.
        Turnstile: Turnstile(max(1, settings.threads // 4)),
        Sources: sources,
        Shelf: Shelf(settings.model_dir),
        Popularity: Popularity(sources),
    }
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Idempotent-Replay", "X-Request-Id"],
        )
    _document(app)
    return app


class _Converter(OpenAPIConverter):
    """Adds to a schema what marshmallow cannot say, such as `oneOf` of two fields."""

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        """The JSON schema of a marshmallow schema."""
        result: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        result.update(getattr(schema, "extra_json_schema", {}))
        return result

    def one_of(self, field: Field[Any], **_: Any) -> dict[str, Any]:
        """The shapes of a `OneOf` field, and what else a field says of itself."""
        if not isinstance(field, OneOf):
            own: dict[str, Any] = getattr(field, "extra_json_schema", {})
            return own
        resolve: Any = self.resolve_nested_schema
        shapes = [resolve(shape) for shape in field.shapes.values()]
        return {"oneOf": shapes, "type": "object"}


class _Plugin(MarshmallowPlugin):
    Converter = _Converter

    def init_spec(self, spec: Any) -> None:
        """Add our field to those that can be documented."""
        super().init_spec(spec)
        if self.converter:
            self.converter.add_attribute_function(_Converter.one_of)  # type: ignore[no-untyped-call]


def _document(app: Flask) -> None:
    """Register the views with their documentation, and serve it offline at /docs."""
    app.config.update(
        API_TITLE="Carnet",
        API_VERSION="1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {"description": DESCRIPTION, "license": {"name": "Apache-2.0"}},
            "servers": [{"url": "/"}],
        },
    )
    api = _Api(app, spec_kwargs={"marshmallow_plugin": _Plugin()})
    schemes = {
        "apiKey": ("An API key of `carnet keys create`. For servers and tills, never a browser.",),
        "memberToken": ("A token of `POST /v1/members/{member_id}/token`, for a browser.",),
    }
    for name, (description,) in schemes.items():
        scheme = {"type": "http", "scheme": "bearer", "description": description}
        api.spec.components.security_scheme(name, scheme)
    member_id = {"type": "string", "pattern": loyalty.members.model.MEMBER_ID_PATTERN}
    app.url_map.converters["member"] = loyalty.members.views.MemberIdConverter
    api.register_converter(loyalty.members.views.MemberIdConverter, lambda _: member_id)
    redemption = loyalty.rewards.views.RedemptionIdConverter
    redemption_id = {"type": "string", "pattern": f"^{redemption.regex}$"}
    app.url_map.converters["redemption"] = redemption
    api.register_converter(redemption, lambda _: redemption_id)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(
        get_swaggerui_blueprint(
            "/docs", "/openapi.json", config={"app_name": "Carnet API", "validatorUrl": None}
        )
    )
    app.add_url_rule("/", "home", lambda: redirect("/docs/"))


class _Api(Api):
    """Leaves errors to `kit.service`, which speaks problem+json."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """None of its own."""


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """Carnet: cross-channel loyalty and personalisation."""
    try:
        context.obj = Settings.from_environment()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _opened(settings: Settings) -> Iterator[Parts]:
    """The stores for one command, over the running service's database or one of its own."""
    try:
        with stop_on_signals():
            uri, own = attach_or_start(settings)
            try:
                parts = assemble(settings, uri)
                try:
                    initialise(settings, parts)
                    yield parts
                finally:
                    parts.database.client.close()
            finally:
                if own:
                    own.stop()
    except (EmbeddedDatabaseError, SecretError, MasterKeyError) as error:
        raise click.ClickException(str(error)) from error
    except StopAsked:
        raise click.Abort from None


@main.command("init")
@click.pass_obj
def init_command(settings: Settings) -> None:
    """Create the indexes and check the secret; safe to run again."""
    with _opened(settings):
        click.echo("The database is ready.")


@main.command("serve")
@click.pass_obj
def serve_command(settings: Settings) -> None:
    """Run the service (with the embedded database if no other is set)."""
    raise SystemExit(_run(settings, prepare=lambda _uri: None))


@main.command("run")
@click.option("--households", default="500", show_default=True, help="How many, or `all`.")
@click.pass_obj
def run_command(settings: Settings, households: str) -> None:
    """Run the service on real sample data: import, train, serve, and say what to try."""
    raise SystemExit(_run(settings, prepare=lambda uri: _prepare_demo(settings, uri, households)))


def _run(settings: Settings, *, prepare: Callable[[str], None]) -> int:
    configure_logs()
    try:
        with stop_on_signals(), owned_database(settings) as (uri, mongod):
            parts = assemble(settings, uri)
            initialise(settings, parts)
            parts.database.client.close()
            prepare(uri)
            return serve(uri, mongod, str(_fresh_directory(settings.data_dir / "metrics")))
    except (EmbeddedDatabaseError, SecretError, MasterKeyError) as error:
        raise click.ClickException(str(error)) from error
    except StopAsked:
        return 0


def _fresh_directory(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def _prepare_demo(settings: Settings, uri: str, households: str) -> None:
    """Import and train in processes of their own: their memory goes when they are done."""
    environment = {**os.environ, "CARNET_MONGODB_URI": uri}
    for command in (["import-demo", "--households", households], ["train", "--if-missing"]):
        done = subprocess.run(  # noqa: S603  # our own commands
            [sys.executable, "-m", "app", *command], env=environment, check=False
        )
        if done.returncode:
            raise click.ClickException(f"`carnet {command[0]}` failed.")
    _say_what_to_try(settings, _demo_key(settings, uri), *_demo_members(settings, uri))


def _demo_key(settings: Settings, uri: str) -> str:
    """The demo's key with all scopes; kept beside the data so that a second run shows it again."""
    file = settings.data_dir / "demo-key"
    parts = assemble(settings, uri)
    if file.exists():
        text = file.read_text()
        found = parts.keys.find(keys.split(text)[0])
        if found and found.revoked_at is None:
            return text
    scopes = frozenset(keys.SCOPES)
    key, text = keys.mint("demo", scopes, at=now(), channel=None, store=None)
    parts.keys.add(key)
    file.touch(mode=0o600)
    file.write_text(text)
    return text


def _demo_members(settings: Settings, uri: str) -> tuple[str, str]:
    """The cards of a member who agrees to personalisation and of one who does not."""
    note = assemble(settings, uri).database["meta"].find_one({"_id": "demo"}) or {}
    return note["agrees"], note["refuses"]


def _say_what_to_try(settings: Settings, key: str, agrees: str, refuses: str) -> None:
    base = f"http://{settings.host}:{settings.port}"
    console = Console(highlight=False, soft_wrap=True)
    console.rule("Carnet is starting")
    console.print(f"[bold]{base}[/]  API and docs at {base}/docs/\n\nKEY={key}\n")
    calls = (
        ("An award", "POST", "/v1/purchases", _demo_purchase(agrees)),
        ("Points, tier, and what is missing to the next", "GET", _points_url(agrees), None),
        ("A reward, taken at once", "POST", "/v1/redemptions", _demo_redemption(agrees)),
        ("Picks for a member who agreed to them", "GET", f"/v1/members/{_url(agrees)}", None),
        ("Picks for one who did not", "GET", f"/v1/members/{_url(refuses)}", None),
    )
    for title, method, path, body in calls:
        data = f" -H 'Content-Type: application/json' \\\n  -d '{body}'" if body else ""
        console.print(f"# {title}", style="dim")
        console.print(
            f"curl -sX {method} '{base}{path}' -H \"Authorization: Bearer $KEY\"{data}\n",
            markup=False,
        )


def _url(member_id: str) -> str:
    return f"{member_id}/recommendations?channel=web&limit=3"


def _points_url(member_id: str) -> str:
    return f"/v1/members/{member_id}/points"


def _demo_redemption(member_id: str) -> str:
    return json.dumps(
        {
            "external_id": "demo-2",
            "channel": "store",
            "member": member_id,
            "reward": "bananas",
            "capture": True,
        }
    )


def _demo_purchase(member_id: str) -> str:
    return json.dumps(
        {
            "external_id": "demo-1",
            "channel": "app",
            "member": member_id,
            "currency": "USD",
            "lines": [{"sku": "1029743", "quantity": 2, "amount": 518}],
        }
    )


@main.command("import-demo")
@click.option("--households", default="500", show_default=True, help="How many, or `all`.")
@click.pass_obj
def import_command(settings: Settings, households: str) -> None:
    """Import the Complete Journey: a grocer's year. What is there already is skipped."""
    if households != "all" and not households.isdigit():
        raise click.BadParameter("a number or `all`", param_hint="--households")
    with _opened(settings) as parts:
        meta = parts.database["meta"]
        note = meta.find_one({"_id": "demo"})
        if note and note["households"] == households:
            click.echo(f"The data of {households} households is there already.")
            return
        journey = Journey(None if households == "all" else int(households))
        stores = parts.stores
        with _bars() as bars:
            done = import_journey(journey, at=now(), stores=stores, progress=bars)
        cards = {
            "agrees": next(each for each in journey.household_numbers if each % 3),
            "refuses": next(each for each in journey.household_numbers if not each % 3),
        }
        note = {name: _member_of(number, stores) for name, number in cards.items()}
        parts.rewards.put(REWARDS)
        fresh = {"households": households, **note}
        meta.replace_one({"_id": "demo"}, fresh, upsert=True)
        click.echo(
            f"{done.members} members, {done.entries} purchases, {done.products} products imported."
        )


def _member_of(household: int, stores: Stores) -> str | None:
    card = loyalty.members.model.normal("card", f"CJ{household:06}")
    return stores.members.resolve(card)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars, one a stage, on a terminal and in a log."""
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        stages: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total)
            progress.update(stages[stage], completed=done, total=total)

        yield advance


@main.command("train")
@click.option("--if-missing", is_flag=True, help="Only if no model is served yet.")
@click.pass_obj
def train_command(settings: Settings, *, if_missing: bool) -> None:
    """Train the recommender on what consent allows now, and serve the result."""
    if if_missing and Shelf(settings.model_dir).served():
        click.echo("A model is there already.")
        return
    with _opened(settings) as parts, _bars() as bars:
        trained = train_and_promote(
            parts.sources,
            root=settings.model_dir,
            factors=settings.model_factors,
            at=now(),
            progress=bars,
        )
    click.echo(f"Held-out last baskets. {trained.choice.note}")
    table = Table()
    for column in ("", f"recall@{trained.choice.k}", f"hit rate@{trained.choice.k}"):
        table.add_column(column, justify="left" if not column else "right")
    for name, metrics in trained.choice.confirmed.items():
        table.add_row(name, f"{metrics.recall:.4f}", f"{metrics.hit_rate:.3f}")
    Console().print(table)
    click.echo(
        f"Model {trained.version}: {len(trained.model.items)} products from {trained.baskets} "
        f"baskets, served now ({trained.seconds:.1f} s)."
    )


@main.command("simulate")
@click.argument("file", type=click.File("rb"))
@click.option("--from", "starts_at", help="RFC 3339; the journal's beginning if absent.")
@click.option("--to", "ends_at", help="RFC 3339; now if absent.")
@click.option("--sample", type=click.IntRange(1), help="Look at so many members at most.")
@click.option("--seed", help="The same seed draws the same members.")
@click.pass_obj
def simulate_command(settings: Settings, /, file: BinaryIO, **options: Any) -> None:
    """Run the draft programme in FILE over the past, and say what it would have cost."""
    question = question_of(_simulation(file, **options))
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        sources = PastSources(parts.scan, parts.stores)
        found = simulate(question, at=now(), sources=sources, progress=_counting(bars))
    body = body_of(found)
    _print(tables_of(body))
    effect = ", ".join(f"{body['effect'][each]['value']} {each}" for each in ("gain", "lose"))
    click.echo(f"{found.looked_at} of {found.of} members looked at; {effect}.")
    for note in body["notes"]:
        click.echo(note)


def _simulation(
    file: BinaryIO,
    *,
    starts_at: str | None,
    ends_at: str | None,
    sample: int | None,
    seed: str | None,
) -> dict[str, Any]:
    """The same as the body of `POST /v1/program/simulations`, held to the same schema."""
    try:
        document = json.load(file)
    except ValueError as error:
        raise click.ClickException(f"The file is not JSON: {error}.") from error
    if isinstance(document, dict) and "program" in document:
        document = document["program"]
    given = {"members": sample, "seed": seed}
    drawn = {name: value for name, value in given.items() if value is not None}
    body = {"program": document, "starts_at": starts_at, "ends_at": ends_at, "sample": drawn}
    try:
        loaded: dict[str, Any] = SimulationSchema().load({k: v for k, v in body.items() if v})
        require_sound(loaded["program"])
    except ValidationError as error:
        raise click.ClickException(str(invalid(error.messages))) from error
    except InvalidProgramError as error:
        raise click.ClickException(error.detail) from error
    return loaded


@contextmanager
def _refusals() -> Iterator[None]:
    """What the shop refuses, as one line."""
    try:
        yield
    except (EmptyPeriodError, NoProgramError) as error:
        raise click.ClickException(error.detail) from error


def _counting(bars: Callable[[str, int, int], None]) -> Callable[[int, int, str], None]:
    """A progress bar for what counts like a job."""
    return lambda done, total, stage: bars(stage, done, total)


def _print(found: Sequence[Table]) -> None:
    for table in found:
        if table.row_count:
            Console().print(table)


@main.command("audit")
@click.option("--member", "member_id", help="Only this member's journal.")
@click.option("--sample", type=click.IntRange(1), help="Only so many members, at random.")
@click.pass_obj
def audit_command(settings: Settings, member_id: str | None, sample: int | None) -> None:
    """Work everything out again from the journal; mends nothing, exits 1 on findings."""
    with _opened(settings) as parts, _bars() as bars:
        scope, stores = Scope(member_id, sample), parts.stores
        report = audit(scope, at=now(), scan=parts.scan, stores=stores, progress=_counting(bars))
    if member_id and not report.entries:
        raise click.ClickException("There is no journal of that member.")
    _print(tables.audit_tables(report))
    for note in report.notes:
        click.echo(note)
    found = report.counts.total()
    click.echo(f"{report.members} members, {report.entries} entries, {found} findings.")
    raise SystemExit(0 if report.is_clean else 1)


@main.command("liability")
@click.pass_obj
def liability_command(settings: Settings) -> None:
    """Say what is owed to all members in points, and when it expires."""
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        found = loyalty.audit.owing.liability(
            at=now(), scan=parts.scan, stores=parts.stores, progress=_counting(bars)
        )
    _print(tables.liability_tables(found))


@main.command("passage")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what is due; write nothing.")
@click.pass_obj
def passage_command(settings: Settings, *, is_dry: bool) -> None:
    """Write into journals what time has done: expiries, holds that ran out, tiers lost."""
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        done = upkeep.passage(
            at=now(),
            scan=parts.scan,
            stores=parts.stores,
            is_dry=is_dry,
            progress=_counting(bars),
        )
    _print([tables.upkeep_table(done)])
    click.echo(f"{done.members} members with something due, {done.written} entries written.")


@main.command("redate")
@click.option("--unit", default="points", show_default=True, help="Which point currency.")
@click.option("--from-version", required=True, type=int, help="The version that dated the points.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say whom it affects; write nothing.")
@click.pass_obj
def redate_command(settings: Settings, unit: str, from_version: int, *, is_dry: bool) -> None:
    """Date points anew by the expiry that rules now. Safe to stop and to run again."""
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        try:
            result = upkeep.redate(
                unit,
                from_version=from_version,
                at=now(),
                scan=parts.scan,
                stores=parts.stores,
                is_dry=is_dry,
                progress=_counting(bars),
            )
        except upkeep.NothingToRedateError:
            raise click.ClickException(f"Both versions date {unit} alike.") from None
    _print([tables.redating_table(result)])
    done = result.done
    click.echo(f"{done.members} members affected, {done.written} entries written.")


@main.group("keys")
def keys_group() -> None:
    """API keys: create, list, revoke."""


@keys_group.command("create")
@click.option("--name", default="", help="What the key is for.")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be given many times.")
@click.option("--channel", help="The only channel it may speak for.")
@click.option("--store", help="The only store it may speak for.")
@click.pass_obj
def keys_create(
    settings: Settings, name: str, scopes: tuple[str, ...], channel: str | None, store: str | None
) -> None:
    """Create a key and show it once. `--scope all` gives every scope."""
    wanted = frozenset(keys.SCOPES) if scopes == ("all",) else frozenset(scopes)
    try:
        key, text = keys.mint(name, wanted, at=now(), channel=channel, store=store)
    except keys.UnknownScopeError as error:
        raise click.ClickException(f"{error} Scopes: {', '.join(keys.SCOPES)}.") from error
    with _opened(settings) as parts:
        parts.keys.add(key)
    click.echo(text)
    click.echo("Keep it now: it is not shown again.", err=True)


@keys_group.command("list")
@click.pass_obj
def keys_list(settings: Settings) -> None:
    """List the keys; the secrets are not kept."""
    table = Table()
    for column in ("id", "name", "channel", "store", "created", "revoked", "scopes"):
        table.add_column(column, overflow="fold")
    with _opened(settings) as parts:
        for key in parts.keys.all():
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            created = f"{key.created_at:%Y-%m-%d %H:%M}"
            bound = (key.channel or "any", key.store or "any")
            table.add_row(key.id, key.name, *bound, created, revoked, " ".join(sorted(key.scopes)))
    Console().print(table)


@keys_group.command("revoke")
@click.argument("key_id")
@click.pass_obj
def keys_revoke(settings: Settings, key_id: str) -> None:
    """Revoke a key; no worker takes it a second later."""
    with _opened(settings) as parts:
        if not parts.keys.revoke(key_id, at=now()):
            raise click.ClickException(f"There is no live key {key_id}.")
    click.echo(f"Key {key_id} is revoked.")


@main.command("openapi")
@click.option("--check", is_flag=True, help="Fail if the file differs from the code.")
@click.argument("file", type=click.Path(path_type=Path), default=Path("openapi/openapi.json"))
def openapi_command(file: Path, *, check: bool) -> None:
    """Write the OpenAPI document, or check that it is up to date."""
    text = json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        raise click.ClickException(f"{file} is out of date: run `carnet openapi`.")


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the code as it is; needs no database."""
    app = create_app(Settings(mongodb_uri="mongodb://localhost", secret="x" * 32))
    with app.test_client() as client:
        document: dict[str, Any] = json.loads(client.get("/openapi.json").data)
    return document


if __name__ == "__main__":
    main()
