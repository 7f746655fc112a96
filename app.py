"""The composition root: `create_app(settings)` puts the nouns together, `main` is `carnet`."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
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
from pymongo.errors import OperationFailure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import loyalty.accesslog.views
import loyalty.audit.owing
import loyalty.audit.views
import loyalty.batches.views
import loyalty.catalogue.views
import loyalty.consent.notice_views
import loyalty.consent.views
import loyalty.counts.views
import loyalty.coupons.views
import loyalty.households.views
import loyalty.jobs.views
import loyalty.journal.views
import loyalty.members.views
import loyalty.messages.views
import loyalty.operation.views
import loyalty.privacy.views
import loyalty.referrals.views
import loyalty.register.model
import loyalty.register.service
import loyalty.register.views
import loyalty.retention.views
import loyalty.rewards.views
import loyalty.simulation.jobs
import loyalty.simulation.views
import loyalty.transfers.views
import loyalty.versions.views
import loyalty.web.leaving
import loyalty.web.preferences
import loyalty.web.views
import recommend.bulk.exports
import recommend.bulk.views
import recommend.experiments.views
import recommend.feedback.views
import recommend.merchandising.views
import recommend.offers.views
import recommend.training.views
import recommend.views
from loyalty.access import model as keys
from loyalty.access.links import LinkMint
from loyalty.access.secrets import SecretError, derive, root_secret
from loyalty.access.service import Gatekeeper
from loyalty.access.store import KeyStore
from loyalty.access.tokens import TokenMint
from loyalty.accesslog.service import looks
from loyalty.accesslog.store import AccessLog
from loyalty.accesslog.watch import Watch
from loyalty.audit import tables, upkeep
from loyalty.audit.service import Scope, audit
from loyalty.batches.service import Ground, Turnstile
from loyalty.batches.store import TillStore
from loyalty.catalogue.stock import StockStore
from loyalty.catalogue.store import CatalogueStore
from loyalty.consent import ledger
from loyalty.consent.chain import BadCheckpointError
from loyalty.consent.gate import permits
from loyalty.consent.model import RIGHTS
from loyalty.consent.opt_in import OptIn
from loyalty.consent.receipts import ControllerBook
from loyalty.consent.store import ConsentStore
from loyalty.counts import service as counting
from loyalty.counts.model import STEPS, BackwardSpanError, TooManyPeriodsError
from loyalty.counts.store import CountStore
from loyalty.counts.tables import table_of as counts_table
from loyalty.coupons.codes import CouponMint
from loyalty.coupons.service import Coupons
from loyalty.coupons.store import CouponStore
from loyalty.households.store import HouseholdStore
from loyalty.importing.complete_journey import REWARDS, Journey
from loyalty.importing.service import import_journey
from loyalty.jobs.runner import Runner
from loyalty.jobs.store import JobStore
from loyalty.journal.drafts import Stores
from loyalty.journal.erasing import JournalEraser
from loyalty.journal.scan import JournalScan
from loyalty.journal.secrecy import Secrecy
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedDatabaseError, attach_or_start
from loyalty.kit.errors import CarnetError
from loyalty.kit.fields import OneOf
from loyalty.kit.http import invalid
from loyalty.kit.mongo import Document, connect, is_refused, open_database
from loyalty.kit.observe import configure_logs
from loyalty.kit.service import Service
from loyalty.kit.settings import Settings, SettingsError
from loyalty.kit.sheets import csv_of
from loyalty.kit.supervisor import StopAsked, owned_database, serve, stop_on_signals
from loyalty.kit.templating import render
from loyalty.members.rotation import SETTLE_SECONDS, IdentifierRotation, rotate_pepper
from loyalty.members.store import MemberStore
from loyalty.messages.service import Postman
from loyalty.messages.store import Outbox
from loyalty.privacy import commands as privacy
from loyalty.privacy.certificate import Signer
from loyalty.privacy.erasing import KIND as ERASURE
from loyalty.privacy.erasing import Eraser, start, work
from loyalty.privacy.erasing import job as erasure_job
from loyalty.privacy.erasures import ErasureStore
from loyalty.privacy.service import Desk
from loyalty.privacy.standing import ConsentLedger, ConsentStanding
from loyalty.privacy.store import CodeStore, RequestStore
from loyalty.referrals.store import ReferralStore
from loyalty.register import tables as register_tables
from loyalty.register.store import RegisterStore
from loyalty.retention import tables as retention_tables
from loyalty.retention.model import KIND as RETENTION
from loyalty.retention.model import RetentionBusyError, Rules, Sweep
from loyalty.retention.service import Keeper, RuleBook, apply_rules
from loyalty.retention.service import job as retention_job
from loyalty.retention.store import RetentionStore
from loyalty.rewards.orders import Redeeming
from loyalty.rewards.store import RewardStore
from loyalty.simulation.model import EmptyPeriodError, question_of
from loyalty.simulation.result import body_of, tables_of
from loyalty.simulation.schemas import SimulationSchema
from loyalty.simulation.service import Sources as PastSources
from loyalty.simulation.service import simulate
from loyalty.vault.masters import MasterKeyError, add_key, masters_of
from loyalty.vault.model import VaultClosedError
from loyalty.vault.peppers import PepperLostError, Peppers, UnreadableDataError
from loyalty.vault.roles import add_users, roles_of, write_roles
from loyalty.vault.rotation import RotationError, rotate_master
from loyalty.vault.store import Vault
from loyalty.versions.model import InvalidProgramError, NoProgramError
from loyalty.versions.service import ProgramShelf, require_sound
from loyalty.versions.store import VersionStore
from loyalty.web.backing import Centre
from loyalty.web.sessions import Door
from recommend.artefact import ArtefactError, Shelf
from recommend.bulk.cursors import Cursors
from recommend.bulk.store import ExportStore
from recommend.bulk.stream import Ground as AudienceGround
from recommend.evaluating import evaluate_files, json_of
from recommend.experiments import tables as experiment_tables
from recommend.experiments.model import ExperimentNotFoundError
from recommend.experiments.results import results as experiment_results
from recommend.experiments.service import Experiments, Shelves
from recommend.experiments.store import ExperimentStore
from recommend.feedback import withdrawn
from recommend.feedback.store import FeedbackStore
from recommend.files import UnusableFileError, write_lines
from recommend.merchandising.store import RuleStore
from recommend.model import LIMIT_MAX
from recommend.model import Settings as ModelSettings
from recommend.newcomers import NewProducts
from recommend.offers.service import Desk as OfferDesk
from recommend.privacy import tables as privacy_tables
from recommend.privacy.attack import verdict
from recommend.privacy.inspection import inspect
from recommend.privacy.model import (
    Budget,
    BudgetSpentError,
    LedgerBusyError,
    TooFewMembersError,
    TooManyMembersError,
)
from recommend.privacy.noise import Noise
from recommend.privacy.service import standing
from recommend.privacy.store import PrivacyLedger
from recommend.report.page import render as render_evaluation
from recommend.report.terminal import show
from recommend.service import Popularity, Sources
from recommend.training import depot as depots
from recommend.training import jobs as training_jobs
from recommend.training import model as trainings
from recommend.training import service as training
from recommend.training import telling
from recommend.training.reading import agreed_baskets
from recommend.training.service import Privacy
from recommend.training.store import ModelStore
from recommend.training.watch import Courier, Tender
from recommend.training.watch import Rules as RetrainingRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from marshmallow import Schema
    from marshmallow.fields import Field
    from pymongo import MongoClient

    from loyalty.accesslog.model import Look
    from loyalty.counts.model import Step
    from loyalty.jobs.model import JobFunction, JobKinds, Report
    from loyalty.vault.model import Holder

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
    loyalty.consent.notice_views.blp,
    loyalty.consent.notice_views.signal_blp,
    loyalty.catalogue.views.blp,
    loyalty.coupons.views.blp,
    loyalty.rewards.views.blp,
    loyalty.jobs.views.blp,
    loyalty.web.views.blp,
    loyalty.messages.views.blp,
    loyalty.accesslog.views.blp,
    loyalty.retention.views.blp,
    loyalty.register.views.blp,
    loyalty.counts.views.blp,
    recommend.views.blp,
    recommend.feedback.views.blp,
    recommend.bulk.views.blp,
    recommend.training.views.blp,
    recommend.experiments.views.blp,
    recommend.offers.views.blp,
    recommend.merchandising.views.blp,
    loyalty.privacy.views.blp,
    loyalty.operation.views.blp,
)
# Pages for people: not part of the API's document.
PAGES = (loyalty.web.preferences.blp, loyalty.web.leaving.blp)
DESCRIPTION = (
    "Points for what a member does on any channel, and recommendations that respect consent. "
    "Every error is `application/problem+json` (RFC 9457) with a stable `code`."
)

# What keeps a command or the service from starting; each says what to do.
STARTING_ERRORS = (
    EmbeddedDatabaseError,
    SecretError,
    MasterKeyError,
    UnreadableDataError,
    PepperLostError,
    VaultClosedError,
    RotationError,
)


class Parts(NamedTuple):
    """The stores over one database.

    `eraser_database` and `eraser_vault` are the same data through a user that may also change and
    remove what is append-only to the service; the same client where no such user is set.
    """

    database: Database[Document]
    eraser_database: Database[Document]
    eraser_vault: Vault
    keys: KeyStore
    tokens: TokenMint
    links: LinkMint
    vault: Vault
    peppers: Peppers
    outbox: Outbox
    members: MemberStore
    consents: ConsentStore
    catalogue: CatalogueStore
    stock: StockStore
    merchandising: RuleStore
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
    accesslog: AccessLog
    retention: RetentionStore
    register: RegisterStore
    counts: CountStore
    feedback: FeedbackStore
    models: ModelStore
    model_dir: Path
    model_factors: int
    model_privacy: Privacy | None
    privacy_ledger: PrivacyLedger
    experiments: ExperimentStore
    requests: RequestStore
    codes: CodeStore
    erasures: ErasureStore
    exports: ExportStore
    cursors: Cursors
    signer: Signer
    code_secret: bytes
    consent_secret: bytes

    @property
    def desk(self) -> Desk:
        """Where the rights of members are exercised, but for their erasure."""
        return self._desk(self.holders(self.database, self.vault), self.vault)

    @property
    def eraser_desk(self) -> Desk:
        """The same through the database's user who may change and remove facts."""
        held = self.holders(self.eraser_database, self.eraser_vault)
        return self._desk(held, self.eraser_vault)

    @property
    def eraser_exports(self) -> ExportStore:
        """Exports of picks, with the right to destroy their keys."""
        return ExportStore(self.eraser_database, self.eraser_vault)

    def _desk(self, holders: Sequence[Holder], vault: Vault) -> Desk:
        return Desk(
            requests=self.requests,
            codes=self.codes,
            erasures=self.erasures,
            members=self.members,
            outbox=self.outbox,
            vault=vault,
            standing=ConsentStanding(self.consents, self.members),
            journal=JournalEraser(self.eraser_database, self.secrecy),
            holders=holders,
            signer=self.signer,
            code_secret=self.code_secret,
            ledger=ConsentLedger(self.consents),
        )

    def close(self) -> None:
        """Let the connections go."""
        for database in (self.database, self.eraser_database):
            database.client.close()

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

    def holders(self, database: Database[Document], vault: Vault) -> tuple[Holder, ...]:
        """Whoever keeps something about members, in the order of an export.

        The members come first: once a member is gone, nothing new can be tied to it.
        """
        return (
            MemberStore(database, vault, Peppers(database, vault)),
            ReferralStore(database),
            HouseholdStore(database, vault),
            JournalEraser(database, self.secrecy),
            RewardStore(database),
            CouponStore(database),
            ConsentStore(database, vault, secret=self.consent_secret),
            RequestStore(database, vault),
            CodeStore(database),
            Outbox(database, vault),
            AccessLog(database),
            RetentionStore(database),
            FeedbackStore(database),
            ExportStore(database, vault),
        )

    @property
    def postman(self) -> Postman:
        """Messages, with where they go."""

        def addresses(member_ids: Sequence[str], kind: str) -> Mapping[str, str]:
            may = permits(member_ids, RIGHTS, at=now(), consents=self.consents)
            return self.members.addresses(may.values(), kind)

        return Postman(self.outbox, addresses)

    @property
    def sources(self) -> Sources:
        """What a recommendation reads."""
        since = RuleBook(self.retention).history_since
        return Sources(
            self.journal,
            self.consents,
            self.members,
            self.catalogue,
            since,
            self.feedback,
            Experiments(self.experiments),
            self.stock,
            self.merchandising,
        )

    @property
    def trainer(self) -> training.Trainer:
        """What a training stands on, and where the models are."""
        is_private = self.model_privacy is not None
        depot = depots.Depot(self.model_dir, self.models, is_private)
        return training.Trainer(
            self.sources, depot, self.model_factors, self.erasures, privacy=self.model_privacy
        )


def assemble(settings: Settings, uri: str) -> Parts:
    """The stores of a database. Nothing connects before it is used."""
    client = connect(uri, timeout_seconds=settings.database_timeout_seconds)
    database = open_database(client, settings.database)
    root = root_secret(settings)
    vault = _vault(settings, client)
    peppers = Peppers(database, vault)
    consent_secret = derive(root, "consent-checkpoints")
    ledger = PrivacyLedger(database)
    eraser_database, eraser_vault = _eraser_of(settings) or (database, vault)
    # Never rotated: a receipt that came once is known by it for ever.
    secrecy = Secrecy(derive(root, "fact-keys"), vault)
    return Parts(
        database=database,
        eraser_database=eraser_database,
        eraser_vault=eraser_vault,
        keys=KeyStore(database),
        tokens=TokenMint(derive(root, "member-tokens")),
        links=LinkMint(derive(root, "links")),
        vault=vault,
        peppers=peppers,
        outbox=Outbox(database, vault),
        members=MemberStore(database, vault, peppers),
        consents=ConsentStore(database, vault, secret=consent_secret),
        catalogue=CatalogueStore(database, timeout_seconds=settings.database_timeout_seconds),
        stock=StockStore(database, timeout_seconds=settings.database_timeout_seconds),
        merchandising=RuleStore(database),
        versions=VersionStore(database),
        journal=JournalStore(database, secrecy, timeout_seconds=settings.database_timeout_seconds),
        secrecy=secrecy,
        coupons=CouponStore(database),
        coupon_mint=CouponMint(
            seed=derive(root, "coupon-signing"), short_key=derive(root, "coupon-short-codes")
        ),
        jobs=JobStore(database),
        referrals=ReferralStore(database),
        households=HouseholdStore(database, vault),
        rewards=RewardStore(database),
        tills=TillStore(database),
        requests=RequestStore(database, vault),
        codes=CodeStore(database),
        erasures=ErasureStore(vault.database),
        exports=ExportStore(database, vault),
        cursors=Cursors(derive(root, "picks-cursors")),
        signer=Signer(derive(root, "erasure-certificates")),
        code_secret=derive(root, "identity-codes"),
        consent_secret=consent_secret,
        accesslog=AccessLog(database),
        retention=RetentionStore(database),
        register=RegisterStore(database),
        counts=CountStore(database),
        feedback=FeedbackStore(database),
        models=ModelStore(database),
        model_dir=settings.model_dir,
        model_factors=settings.model_factors,
        model_privacy=model_privacy(settings, ledger),
        privacy_ledger=ledger,
        experiments=ExperimentStore(database),
    )


def _eraser_of(settings: Settings) -> tuple[Database[Document], Vault] | None:
    """The same data through the user who may change and remove facts, if there is one."""
    if not settings.eraser_uri:
        return None
    client = connect(settings.eraser_uri, timeout_seconds=settings.database_timeout_seconds)
    return open_database(client, settings.database), _vault(settings, client)


def _vault(settings: Settings, client: MongoClient[Document]) -> Vault:
    """The vault through a client; it reads its master keys again when they were rotated."""
    database = open_database(client, settings.vault_database)
    return Vault(database, masters_of(settings), reload=lambda: masters_of(settings))


def _create_indexes(parts: Parts) -> None:
    for store in (
        parts.vault,
        parts.outbox,
        parts.members,
        parts.consents,
        parts.catalogue,
        parts.stock,
        parts.merchandising,
        parts.versions,
        parts.journal,
        parts.coupons,
        parts.jobs,
        parts.referrals,
        parts.households,
        parts.rewards,
        parts.tills,
        parts.requests,
        parts.codes,
        parts.erasures,
        parts.accesslog,
        parts.retention,
        parts.counts,
        parts.feedback,
        parts.exports,
        parts.models,
        parts.experiments,
    ):
        store.create_indexes()


def initialise(settings: Settings, parts: Parts) -> None:
    """Create the indexes and check the secret. Idempotent; runs at every start.

    Raises:
        SecretError: the database was written under another secret.
    """
    try:
        _create_indexes(parts)
    except OperationFailure as error:
        # The service's own user may not: `carnet init` of an administrator made them.
        if not is_refused(error) or not parts.database["meta"].find_one({"_id": "secret"}):
            raise
    parts.peppers.check()
    check = derive(root_secret(settings), "check").hex()
    kept = parts.database["meta"].find_one_and_update(
        {"_id": "secret"}, {"$setOnInsert": {"check": check}}, upsert=True, return_document=True
    )
    if kept is None or not hmac.compare_digest(kept["check"], check):
        raise SecretError(
            "The database was written under another secret: codes and tokens would not hold. "
            "Set CARNET_SECRET (or the data directory's file `secret`) to the one it was made with."
        )


def job_kinds(parts: Parts) -> JobKinds:
    """What a job can be, by name: the function that carries it out over these stores."""
    scan, stores = parts.scan, parts.stores
    return {
        loyalty.simulation.jobs.KIND: loyalty.simulation.jobs.job(PastSources(scan, stores)),
        loyalty.audit.owing.KIND: loyalty.audit.owing.job(scan, stores, now),
        ERASURE: erasure_job(lambda told: _eraser(parts, told.progress)),
        RETENTION: _retain(parts),
        # One thread: the others are for the requests that the worker answers meanwhile.
        trainings.KIND: training_jobs.job(parts.trainer._replace(threads=1)),
    }


def picks_kind(settings: Settings, parts: Parts, shelf: Shelf, popularity: Popularity) -> JobKinds:
    """The job that draws picks for an audience; it shares the model with the requests."""
    ground = AudienceGround(
        shelf=shelf,
        popularity=popularity,
        sources=parts.sources,
        door=Door(parts.links, parts.tokens),
        url=settings.url,
        cursors=parts.cursors,
        batch_seconds=settings.database_timeout_seconds * recommend.bulk.views.BATCH_TIMES,
        clock=now,
    )
    run = recommend.bulk.exports.job(ground, parts.exports, parts.eraser_exports)
    return {recommend.bulk.exports.KIND: run}


def _eraser(parts: Parts, progress: Callable[[int, int, str], None]) -> Eraser:
    return Eraser(parts.eraser_desk, now, time.sleep, progress)


def _retain(parts: Parts) -> JobFunction:
    """Apply the rules of retention, then carry out the erasures that these began."""
    apply_them = retention_job(keeper(parts), now)

    def run(params: Mapping[str, Any], told: Report) -> Mapping[str, Any]:
        applied = apply_them(params, told)
        work(_eraser(parts, told.progress))
        parts.eraser_exports.sweep(now())
        return applied

    return run


def keeper(parts: Parts) -> Keeper:
    """What applying the rules of retention touches."""
    # The service itself only appends to it.
    feedback = FeedbackStore(parts.eraser_database)
    sweeps = (
        Sweep("access_log_days", "access_log", parts.accesslog.old, parts.accesslog.sweep),
        Sweep("messages_days", "messages", parts.outbox.old, parts.outbox.sweep),
        Sweep("jobs_days", "jobs", parts.jobs.old, parts.jobs.sweep),
        Sweep("requests_months", "requests", parts.requests.old, parts.requests.sweep),
        Sweep("feedback_months", "feedback", parts.feedback.old, feedback.sweep),
        # Whatever its age: the consent that it was kept with is gone.
        Sweep(
            "feedback_months",
            "feedback_withdrawn",
            lambda _: withdrawn.count(feedback, parts.consents, at=now()),
            lambda _: withdrawn.sweep(feedback, parts.consents, at=now()),
        ),
    )
    eraser = _eraser(parts, lambda *_: None)

    def erase(member_id: str, reason: str) -> None:
        # The first pass only: `work` then ends them all together, for each waits half a minute.
        start(member_id, reason=reason, eraser=eraser)

    return Keeper(parts.retention, parts.postman, sweeps, parts.retention.end, erase)


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
    shelf = Shelf(settings.model_dir)
    popularity = Popularity(parts.sources, is_plain=settings.model_privacy == "plain")
    kinds = {**job_kinds(parts), **picks_kind(settings, parts, shelf, popularity)}
    runner = Runner(parts.jobs, kinds, at_once=settings.jobs_at_once)
    app.watcher = watch = Watch(parts.accesslog)
    app.background += [runner, watch, _courier(settings, parts, runner, shelf)]
    app.extensions["carnet"] = {
        **_provided(settings, parts, runner),
        Shelf: shelf,
        Popularity: popularity,
        Watch: watch,
    }
    app.before_request(loyalty.consent.views.note_signal)
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Idempotent-Replay", "X-Request-Id"],
        )
    _document(app)
    return app


def _courier(settings: Settings, parts: Parts, runner: Runner, shelf: Shelf) -> Courier:
    """What brings models to this node, and has them trained."""
    rules = RetrainingRules(settings.model_retrain_withdrawals, settings.model_retrain_hours)
    rules = rules.within(parts.model_privacy.budget if parts.model_privacy else None)
    tender = Tender(parts.trainer, parts.jobs, runner, rules)
    return Courier(parts.trainer.depot, tender.tend, is_broken=lambda: shelf.problem is not None)


def _provided(settings: Settings, parts: Parts, runner: Runner) -> dict[type, Any]:
    """The one object of each type that views ask for."""
    sources, stores = parts.sources, parts.stores
    return {
        Settings: settings,
        Database: parts.database,
        TokenMint: parts.tokens,
        LinkMint: parts.links,
        Vault: parts.vault,
        Outbox: parts.outbox,
        OptIn: OptIn(parts.outbox, parts.links, settings.url),
        Desk: parts.desk,
        KeyStore: parts.keys,
        AccessLog: parts.accesslog,
        RetentionStore: parts.retention,
        RegisterStore: parts.register,
        ControllerBook: ControllerBook(settings.url, parts.register.controller),
        CountStore: parts.counts,
        Postman: parts.postman,
        MemberStore: parts.members,
        ConsentStore: parts.consents,
        CatalogueStore: parts.catalogue,
        StockStore: parts.stock,
        RuleStore: parts.merchandising,
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
        ExportStore: parts.exports,
        Cursors: parts.cursors,
        training.Trainer: parts.trainer,
        Experiments: sources.experiments,
        OfferDesk: OfferDesk(stores, parts.rewards, sources),
        Shelves: Shelves(settings.model_dir, is_private=settings.model_privacy != "plain"),
        NewProducts: NewProducts(parts.catalogue),
        Centre: _centre(settings, parts, runner),
    }


def _centre(settings: Settings, parts: Parts, runner: Runner) -> Centre:
    """What the pages for members stand on."""

    def looks_at(member_id: str, limit: int) -> Sequence[Look]:
        return looks(
            member_id,
            before=None,
            limit=limit,
            accesslog=parts.accesslog,
            keys=parts.keys,
            members=parts.members,
        )

    return Centre(
        Door(parts.links, parts.tokens),
        parts.stores,
        parts.desk,
        parts.jobs,
        runner,
        OptIn(parts.outbox, parts.links, settings.url),
        settings.url,
        ControllerBook(settings.url, parts.register.controller),
        looks_at,
    )


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
    named = recommend.experiments.views.NameConverter
    app.url_map.converters["experiment"] = named
    api.register_converter(named, lambda _: {"type": "string", "pattern": f"^{named.regex}$"})
    redemption = loyalty.rewards.views.RedemptionIdConverter
    redemption_id = {"type": "string", "pattern": f"^{redemption.regex}$"}
    app.url_map.converters["redemption"] = redemption
    api.register_converter(redemption, lambda _: redemption_id)
    rule_set = recommend.merchandising.views.RuleSetNameConverter
    rule_set_name = {"type": "string", "pattern": f"^{rule_set.regex}$"}
    app.url_map.converters["rule_set"] = rule_set
    api.register_converter(rule_set, lambda _: rule_set_name)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    for pages in PAGES:
        app.register_blueprint(pages)
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


WRITTEN = click.Path(path_type=Path, dir_okay=False, writable=True)


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
                    parts.close()
            finally:
                if own:
                    own.stop()
    except STARTING_ERRORS as error:
        raise click.ClickException(str(error)) from error
    except StopAsked:
        raise click.Abort from None


@main.command("init")
@click.option("--users", is_flag=True, help="With CARNET_ADMIN_URI: add a user of each role.")
@click.pass_obj
def init_command(settings: Settings, *, users: bool) -> None:
    """Create the indexes and check the secret; safe to run again.

    With `CARNET_ADMIN_URI` also the roles: one for the service, which can append to the journal
    and to consents but not change them, and one for erasures.
    """
    if users and not settings.admin_uri:
        raise click.ClickException("Roles and users need CARNET_ADMIN_URI.")
    admin = replace(settings, mongodb_uri=settings.admin_uri or settings.mongodb_uri)
    with _opened(admin) as parts:
        if settings.admin_uri:
            client = parts.database.client
            roles = roles_of(settings.database, settings.vault_database)
            write_roles(client, roles)
            for name, password in (add_users(client, roles) if users else {}).items():
                click.echo(f"{name} {password}")
    click.echo("The database is ready.", err=users)


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
            parts.close()
            prepare(uri)
            return serve(uri, mongod, str(_fresh_directory(settings.data_dir / "metrics")))
    except STARTING_ERRORS as error:
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
        ("A link to the member's own page", "POST", *_link_of(agrees)),
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


def _link_of(member_id: str) -> tuple[str, str]:
    return f"/v1/members/{member_id}/links", json.dumps({"use": "preferences"})


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
        parts.retention.set_rules(OF_2017, at=now(), by="import-demo")
        fresh = {"households": households, **note}
        meta.replace_one({"_id": "demo"}, fresh, upsert=True)
        click.echo(
            f"{done.members} members, {done.entries} purchases, {done.products} products imported."
        )


def _require_directory(target: Path) -> None:
    """Before any work: what is to be written has a place."""
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"{target}: there is no such directory.")


@main.command("demo-data")
@click.argument("file", type=WRITTEN)
@click.option("--households", type=click.IntRange(1), help="So many, at random; all if absent.")
def demo_data_command(file: Path, households: int | None) -> None:
    """Write the Complete Journey as a Parquet file for `carnet evaluate`."""
    _require_directory(file)
    lines = write_lines(file, Journey(households).purchases())
    click.echo(f"{lines:,} lines in {file}.")


# The grocer's year is 2017: a shop's own rules would take its history away, and warn everybody.
OF_2017 = Rules(model_history_months=600, inactive_months=600)


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


@main.group("model")
def model_group() -> None:
    """The model of recommendations: train, look, compare, promote, go back."""


_force = click.option("--force", is_flag=True, help="Serve it whatever speaks against it.")


@model_group.command("train")
@click.option("--if-missing", is_flag=True, help="Only if no model is served yet.")
@_force
@click.pass_obj
def train_command(settings: Settings, *, if_missing: bool, force: bool) -> None:
    """Train the recommender on what consent allows now, and serve the result.

    A result that is clearly worse than what is served, or than plain ways, is kept and not served;
    then the exit code is 1.
    """
    with _opened(settings) as parts, _model_refusals():
        depot = parts.trainer.depot
        if if_missing and (depots.deliver(depot) and depots.serving(depot)):
            click.echo("A model is there already.")
            return
        with _bars() as bars:
            done = training.train_and_promote(parts.trainer, at=now(), progress=bars, force=force)
        told = telling.report(parts.trainer, done.version, at=now())
    click.echo(f"Held-out last baskets. {done.choice.note}")
    _print([telling.metrics_table(told["metrics"], told["k"])])
    _print([telling.comparisons_table(told["comparisons"])])
    for line in telling.outcome_of(done):
        click.echo(line)
    raise SystemExit(0 if done.promoted else 1)


main.add_command(train_command, "train")


@contextmanager
def _model_refusals() -> Iterator[None]:
    """What a model cannot do, as one line."""
    try:
        yield
    except ArtefactError as error:
        raise click.ClickException(f"{error}.") from error
    except CarnetError as error:
        raise click.ClickException(error.detail) from error


@model_group.command("list")
@click.pass_obj
def model_list(settings: Settings) -> None:
    """List the models that are kept, newest first."""
    with _opened(settings) as parts:
        found = training.versions(parts.trainer.depot)
    if not found:
        click.echo("No model is there. `carnet train` makes one.")
    _print([telling.versions_table(found)])


@model_group.command("promote")
@click.argument("version")
@_force
@click.pass_obj
def model_promote(settings: Settings, version: str, *, force: bool) -> None:
    """Serve VERSION on every node, within a second or two."""
    with _opened(settings) as parts, _model_refusals():
        depots.promote(parts.trainer.depot, version, at=now(), by="command", force=force)
    click.echo(f"Model {version} is served now.")


@model_group.command("rollback")
@click.argument("version", required=False)
@click.pass_obj
def model_rollback(settings: Settings, version: str | None) -> None:
    """Go back to the model that was served before, or to VERSION, on every node."""
    with _opened(settings) as parts, _model_refusals():
        done = depots.rollback(parts.trainer.depot, version, at=now(), by="command")
        told = telling.report(parts.trainer, done.version, at=now())
    click.echo(f"Model {done.version} is served again.")
    if told["withdrawn_since"]:
        click.echo(
            f"{told['withdrawn_since']} members behind it withdrew since: train anew soon "
            "(`carnet train`)."
        )


@model_group.command("report")
@click.argument("version", required=False)
@click.option("--html", "file", type=click.Path(path_type=Path), help="Write a page to keep.")
@click.pass_obj
def model_report(settings: Settings, version: str | None, file: Path | None) -> None:
    """Say how good a model is beside the others, and whether it was refused and why."""
    with _opened(settings) as parts, _model_refusals():
        values = telling.page_of(parts.trainer, version, at=now())
    told = values["report"]
    if file:
        file.write_text(render(telling.TEMPLATE, **values), encoding="utf-8")
        click.echo(f"Written to {file}.")
        return
    for line in telling.lines_of(told, values["weights"]):
        click.echo(line)
    _print([telling.metrics_table(told["metrics"], told["k"])])
    _print([telling.comparisons_table(told["comparisons"])])


@model_group.command("prune")
@click.option("--keep", type=click.IntRange(1), default=depots.KEEP, show_default=True)
@click.pass_obj
def model_prune(settings: Settings, keep: int) -> None:
    """Delete old models everywhere but the newest that were served, and what a kill left behind."""
    with _opened(settings) as parts, _model_refusals():
        gone = depots.prune(parts.trainer.depot, keep)
    click.echo(f"{len(gone)} models deleted{': ' if gone else ''}{', '.join(gone)}.")


def _budget(settings: Settings) -> Budget:
    return Budget(
        settings.model_epsilon,
        settings.model_epsilon_total,
        settings.model_epsilon_days,
        settings.model_delta,
    )


def model_privacy(settings: Settings, ledger: PrivacyLedger) -> Privacy | None:
    """How models are trained under differential privacy; None where the shop has them plain."""
    if settings.model_privacy == "plain":
        return None
    return Privacy(_budget(settings), ledger, Noise())


@model_group.command("privacy")
@click.pass_obj
def model_privacy_command(settings: Settings) -> None:
    """Print what trainings have spent of the privacy budget, and what is left."""
    budget = _budget(settings)
    with _opened(settings) as parts:
        found = standing(parts.privacy_ledger.entries(), at=now(), budget=budget)
    _print([privacy_tables.ledger_table(found)])
    for line in privacy_tables.standing_lines(found, budget, settings.model_privacy):
        click.echo(line)


@model_group.command("audit")
@click.argument("version", required=False)
@click.option("--members", type=click.IntRange(60, 20_000), default=2_000, show_default=True)
@click.option("--shadows", type=click.IntRange(0, 16), default=4, show_default=True)
@click.pass_obj
def model_audit(settings: Settings, version: str | None, members: int, shadows: int) -> None:
    """Attack a model: can be told who was in its training? The finding goes into its card.

    Half of the members train a twin of VERSION (by default of the model that is served), and the
    attacker, who trains SHADOWS models beside it, says of at most MEMBERS members who was in.
    """
    with _opened(settings) as parts, _refusals(), _model_refusals(), _bars() as bars:
        found = inspect(
            agreed_baskets(parts.sources, progress=bars),
            depot=parts.trainer.depot,
            version=version,
            at=now().timestamp(),
            members=members,
            shadows=shadows,
            progress=bars,
        )
    finding = found.finding
    _print([privacy_tables.audit_table(finding)])
    click.echo(
        f"Model {found.version} ({found.mode}), a twin trained on half of the members, "
        f"{finding.people_in} who were in and {finding.people_out} who were not. "
        f"{verdict(finding)} With 1% false alarms {finding.true_share:.1%} of those who were in "
        "are found."
    )


@main.command("evaluate")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--test", type=click.Path(path_type=Path), help="The right answers, held out before.")
@click.option("--k", type=click.IntRange(1, LIMIT_MAX), default=10, show_default=True)
@click.option("--split", type=click.Choice(["last-basket", "file"]), help="`file` with --test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--people-min",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Fewest people behind an item that is shown to others.",
)
@click.option("--html", type=WRITTEN, help="Write a page with charts.")
@click.option("--json", "figures", type=WRITTEN, help="Write all figures.")
@click.pass_obj
def evaluate_command(
    settings: Settings,
    *,
    data: Path,
    test: Path | None,
    k: int,
    split: str | None,
    seed: int,
    people_min: int,
    html: Path | None,
    figures: Path | None,
) -> None:
    """Say how good recommendations learned from a Parquet or CSV file are, beside plain methods.

    Columns: member, item, and where there are any basket and at. Needs no database.
    """
    if (split or ("file" if test else "last-basket")) != ("file" if test else "last-basket"):
        raise click.UsageError("--split file goes with --test FILE, and only with it.")
    for target in (html, figures):
        if target:
            _require_directory(target)
    start = ModelSettings(factors=settings.model_factors, people_min=people_min)
    try:
        with _bars() as bars:
            found = evaluate_files(data, test, start, k=k, seed=seed, progress=bars)
    except UnusableFileError as error:
        raise click.UsageError(str(error)) from error
    show(found.page, Console())
    if html:
        html.write_text(render_evaluation(found.page), encoding="utf-8")
    if figures:
        figures.write_bytes(json_of(found.appraisal))


@main.command("experiments")
@click.argument("name", required=False)
@click.pass_obj
def experiments_command(settings: Settings, name: str | None) -> None:
    """List experiments, or compare the variants of one with its control."""
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        if name is None:
            tables_, verdict = [experiment_tables.list_table(parts.experiments.all())], ""
        else:
            found = experiment_results(
                parts.experiments.get(name),
                at=now(),
                sources=parts.sources,
                batch_seconds=settings.database_timeout_seconds * 5,
                progress=lambda done: bars("members", done, done),
            )
            tables_, verdict = [experiment_tables.results_table(found)], found.verdict
    _print(tables_)
    click.echo(verdict, nl=bool(verdict))


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
    except (
        EmptyPeriodError,
        NoProgramError,
        RetentionBusyError,
        BackwardSpanError,
        TooManyPeriodsError,
        BudgetSpentError,
        LedgerBusyError,
        TooManyMembersError,
        TooFewMembersError,
        ExperimentNotFoundError,
    ) as error:
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


@main.command("retention")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would go; write nothing.")
@click.pass_obj
def retention_command(settings: Settings, *, is_dry: bool) -> None:
    """Warn and erase inactive members, and sweep away what is old. Safe to stop; run it daily."""
    with _opened(settings) as parts, _refusals(), _bars() as bars:
        applied = apply_rules(
            clock=now, keeper=keeper(parts), is_dry=is_dry, progress=_counting(bars)
        )
        if not is_dry:
            work(_eraser(parts, _counting(bars)))
            parts.eraser_exports.sweep(now())
    _print([retention_tables.table_of(applied)])
    click.echo(f"{applied.looked_at} members looked at.")


@main.group("privacy")
def privacy_group() -> None:
    """Requests of members, erasures and their certificates, and the register of processing."""


@privacy_group.command("register")
@click.option("--csv", "is_csv", is_flag=True, help="For a spreadsheet.")
@click.pass_obj
def register_command(settings: Settings, *, is_csv: bool) -> None:
    """Print the register of processing activities (Art. 30 GDPR)."""
    with _opened(settings) as parts:
        body = loyalty.register.service.register(
            at=now(),
            controller=parts.register.controller(),
            purposes=loyalty.register.model.purposes(parts.consents.purposes.all()),
            scopes_by_purpose=loyalty.register.views.scopes_by_purpose(_bare_app()),
            keys=parts.keys.all(),
            rules=parts.retention.rules().rules,
        )
    if is_csv:
        click.echo(csv_of(register_tables.HEADER, register_tables.rows_of(body)), nl=False)
        return
    _print(register_tables.tables_of(body))


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


@main.command("erase")
@click.option("--member", "member_id", required=True, help="The member's id.")
@click.pass_obj
def erase_command(settings: Settings, member_id: str) -> None:
    """Erase a member for good, and print the certificate. It takes half a minute."""
    with _opened(settings) as parts, _bars() as bars:
        certificate = privacy.erase(member_id, _eraser(parts, _counting(bars)))
    click.echo(certificate)


@main.command("restore-check")
@click.option("--tombstones", type=click.File("rb"), help="A list of `carnet privacy tombstones`.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only look.")
@click.pass_obj
def restore_check_command(settings: Settings, tombstones: BinaryIO | None, *, is_dry: bool) -> None:
    """After a restore of the data: erase again who was erased since. Exits 1 if any are left."""
    with _opened(settings) as parts, _bars() as bars:
        if tombstones:
            privacy.take_in(tombstones, at=now(), desk=parts.desk)
        eraser = _eraser(parts, _counting(bars))
        found = privacy.restore_check(parts.database, eraser, is_dry=is_dry)
    _print([privacy.restored_table(found)])
    click.echo(privacy.restored_line(found))
    raise SystemExit(1 if found.left else 0)


@privacy_group.command("requests")
@click.option("--overdue", is_flag=True, help="Only those that should have been answered.")
@click.pass_obj
def privacy_requests(settings: Settings, *, overdue: bool) -> None:
    """List the requests that are open, the most urgent first."""
    with _opened(settings) as parts:
        Console().print(privacy.requests_table(parts.desk, overdue=overdue, at=now()))


@privacy_group.command("work")
@click.pass_obj
def privacy_work(settings: Settings) -> None:
    """Carry out every erasure that was asked for or was left lying. Safe to stop."""
    with _opened(settings) as parts, _bars() as bars:
        done = privacy.work(_eraser(parts, _counting(bars)))
    click.echo(f"{len(done)} erasures carried out.")


@privacy_group.command("certificate")
@click.argument("erasure_id")
@click.option("--verify", is_flag=True, help="Check the signature, too.")
@click.pass_obj
def privacy_certificate(settings: Settings, erasure_id: str, *, verify: bool) -> None:
    """Print the certificate of an erasure."""
    with _opened(settings) as parts:
        click.echo(privacy.certificate(erasure_id, parts.desk, verify=verify))
    if verify:
        click.echo("The signature is this shop's, and nothing was changed.", err=True)


@privacy_group.command("tombstones")
@click.pass_obj
def privacy_tombstones(settings: Settings) -> None:
    """Print the signed list of who was erased, to keep apart from all backups."""
    with _opened(settings) as parts:
        for line in privacy.tombstones(parts.desk, at=now()):
            click.echo(line.decode(), nl=False)


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


@main.group("consents")
def consents_group() -> None:
    """The records of consents: look for tampering, and keep what they come to."""


@consents_group.command("counts")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last day; today.")
@click.option("--step", type=click.Choice(STEPS), default="day", help="Length of a period.")
@click.pass_obj
def counts_command(
    settings: Settings, first: datetime | None, last: datetime | None, step: Step
) -> None:
    """Count decisions by purpose, channel, method and status; thirty days if nothing is said."""
    begin, end = (each.date() if each else None for each in (first, last))
    with _opened(settings) as parts, _refusals():
        counted = counting.counted(begin, end, step, at=now(), counts=parts.counts)
    _print([counts_table(counted)])
    click.echo(f"{counted.totals.total():,} decisions.")


@consents_group.command("checkpoint")
@click.pass_obj
def consents_checkpoint(settings: Settings) -> None:
    """Keep a signed sum over all records, and print it: keep the text outside as well."""
    with _opened(settings) as parts:
        text = ledger.checkpoint(at=now(), consents=parts.consents)
        kept = parts.consents.read_checkpoint(text)
    click.echo(text)
    click.echo(
        f"Over {kept.tally.records} records made before {kept.until:%Y-%m-%d %H:%M:%S}Z. "
        "Whoever cuts them off cannot make this sum again.",
        err=True,
    )


@consents_group.command("verify")
@click.option("--checkpoint", "against", help="A text that `checkpoint` printed.")
@click.pass_obj
def consents_verify(settings: Settings, against: str | None) -> None:
    """Check every chain of records, and the newest checkpoint; exits 1 with the places."""
    with _opened(settings) as parts, _bars() as bars:
        try:
            verdict = ledger.verify(
                consents=parts.consents,
                progress=lambda done, total: bars("records", done, total),
                against=against,
            )
        except BadCheckpointError:
            raise click.ClickException("The checkpoint is not one of this service.") from None
    for each in verdict.findings:
        click.echo(" ".join(filter(None, (each.member_id, each.record_id, each.problem))))
    kept = verdict.checkpoint
    beside = f"number {kept.number} of {kept.made_at:%Y-%m-%d %H:%M}" if kept else "none"
    click.echo(
        f"{verdict.members} members, {verdict.records} records, {verdict.problems} findings; "
        f"checkpoint: {beside}."
    )
    raise SystemExit(0 if verdict.is_clean else 1)


@main.group("secrets")
def secrets_group() -> None:
    """Peppers and master keys: how they stand, and new ones for old ones."""


_settling = click.option(
    "--settle-seconds",
    type=click.FloatRange(min=0),
    help="How long to wait until every worker knows; less is for a service that stands still.",
)


@secrets_group.command("status")
@click.pass_obj
def secrets_status(settings: Settings) -> None:
    """Say which pepper is in use, whether it is being rotated, and which master wraps how much."""
    with _opened(settings) as parts:
        stage = parts.peppers.stage()
        wrapped = parts.vault.wrapped()
        current = parts.vault.masters.current
    click.echo(f"pepper {stage.number}: {stage.name}{f' {stage.fresh}' if stage.fresh else ''}")
    for name, count in sorted(wrapped.items()):
        click.echo(f"master {name}: {count} keys{' (current)' if name == current else ''}")


@secrets_group.command("rotate-pepper")
@_settling
@click.pass_obj
def secrets_rotate_pepper(settings: Settings, settle_seconds: float | None) -> None:
    """Find identifiers by a new pepper. The service goes on; safe to stop and to run again."""
    seconds = SETTLE_SECONDS if settle_seconds is None else settle_seconds
    with _opened(settings) as parts, _bars() as bars:
        database, vault = parts.eraser_database, parts.eraser_vault
        peppers = Peppers(database, vault)
        rotation = IdentifierRotation(database, vault, peppers)
        stage = rotate_pepper(
            rotation, peppers, wait=time.sleep, progress=bars, settle_seconds=seconds
        )
    click.echo(f"Pepper {stage.number} is the only one now.")


@secrets_group.command("rotate-master")
@click.option(
    "--prepare", is_flag=True, help="Only add the new key, to copy the file to all nodes."
)
@_settling
@click.pass_obj
def secrets_rotate_master(
    settings: Settings, settle_seconds: float | None, *, prepare: bool
) -> None:
    """Wrap all keys by a new master key. The service goes on; safe to stop and to run again.

    With `CARNET_KMS_FILE`, name the new master there first.
    """
    seconds = SETTLE_SECONDS if settle_seconds is None else settle_seconds
    file = None if settings.kms_file else settings.master_key_file
    with _opened(settings) as parts, _bars() as bars:
        if prepare and file:
            add_key(file)
            click.echo("The new key is in the file. Copy it to every node, then run this again.")
            return
        done = rotate_master(
            parts.eraser_vault,
            file,
            wait=time.sleep,
            progress=partial(bars, "wrapped"),
            settle_seconds=seconds,
        )
    click.echo(f"{done} keys are wrapped by the new master.")


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
    with _bare_app().test_client() as client:
        document: dict[str, Any] = json.loads(client.get("/openapi.json").data)
    return document


def _bare_app() -> Flask:
    """The application for what its views declare; never asked for data."""
    return create_app(Settings(mongodb_uri="mongodb://localhost", secret="x" * 32))


if __name__ == "__main__":
    main()
