-- Isolated markets. A deleted one keeps its number until its rows are purged; its name is free at once.
create table venues (
    venue_id bigint generated always as identity primary key,
    venue text not null,
    epoch bigint not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);

create unique index venues_by_name on venues (venue) where deleted_at is null;

-- Who may write a venue, and how far it was written. Every batch locks, checks and renews its row.
create table leases (
    venue_id bigint primary key references venues,
    epoch bigint not null default 0,
    holder text not null default '',
    expires_at timestamptz not null default '-infinity',
    batch bigint not null default 0,
    sequence bigint not null default 0
) with (fillfactor = 50);

-- What each batch was told, and what happened: the truth that all other tables follow.
create table journal (
    venue_id bigint not null,
    batch bigint not null,
    lease_epoch bigint not null,
    engine_version smallint not null,
    first_sequence bigint not null,
    last_sequence bigint not null,
    commands bytea not null,
    events bytea not null,
    chain bytea not null,
    primary key (venue_id, batch)
);

-- Their bytes are small and dense; compressing them costs more than it saves.
alter table journal alter column commands set storage external;
alter table journal alter column events set storage external;

create index journal_by_sequence on journal (venue_id, last_sequence);

-- In which batches an account's order events are.
create table journal_accounts (
    venue_id bigint not null,
    account_id text not null,
    last_order_sequence bigint not null,
    batch bigint not null,
    primary key (venue_id, account_id, last_order_sequence)
);

create table snapshots (
    venue_id bigint not null,
    sequence bigint not null,
    batch bigint not null,
    chain bytea not null,
    state_hash text not null,
    state bytea not null,
    primary key (venue_id, sequence)
);

alter table snapshots alter column state set storage external;

-- Up to which batch events are on Kafka.
create table relays (
    venue_id bigint primary key references venues,
    batch bigint not null default 0
) with (fillfactor = 50);

create table instruments (
    venue_id bigint not null,
    symbol text not null,
    kind smallint not null,
    name text not null,
    currency text not null,
    tick_size text not null,
    lot_size text not null,
    min_quantity bigint not null,
    max_quantity bigint not null,
    primary key (venue_id, symbol)
);

-- Prices are ticks, quantities lots, money units of 1e-8, times nanoseconds, enums the numbers of the contract.
create table orders (
    venue_id bigint not null,
    order_number bigint not null,
    order_id text not null,
    account_id text not null,
    client_order_id text not null,
    symbol text not null,
    side smallint not null,
    type smallint not null,
    time_in_force smallint not null,
    price bigint not null,
    quantity bigint not null,
    filled bigint not null,
    filled_value numeric not null,
    leaves bigint not null,
    state smallint not null,
    reject_reasons json not null,
    cancel_reason text not null,
    version bigint not null,
    venue_sequence bigint not null,
    created_ns bigint not null,
    updated_ns bigint not null,
    primary key (venue_id, order_number)
);

create unique index orders_by_client_id on orders (venue_id, account_id, client_order_id);
create index orders_of_account on orders (venue_id, account_id, order_number);
create index orders_open on orders (venue_id) where state = 1;

create table executions (
    venue_id bigint not null,
    venue_sequence bigint not null,
    leg smallint not null,
    execution_id text not null,
    trade_id text not null,
    order_id text not null,
    client_order_id text not null,
    account_id text not null,
    symbol text not null,
    side smallint not null,
    price bigint not null,
    quantity bigint not null,
    liquidity smallint not null,
    position_after bigint,
    realized_pnl bigint not null,
    sequence bigint not null,
    executed_ns bigint not null,
    primary key (venue_id, venue_sequence, leg)
);

create index executions_of_account on executions (venue_id, account_id, venue_sequence);
create index executions_of_order on executions (venue_id, order_id);
create index executions_of_trade on executions (venue_id, trade_id);

create table accounts (
    venue_id bigint not null,
    account_id text not null,
    flow boolean not null,
    currency text not null,
    allow_short boolean not null,
    cash numeric not null,
    cash_held numeric not null,
    realized_pnl numeric not null,
    open_orders integer not null,
    version bigint not null,
    venue_sequence bigint not null,
    primary key (venue_id, account_id)
);

create table positions (
    venue_id bigint not null,
    account_id text not null,
    symbol text not null,
    quantity bigint not null,
    quantity_held bigint not null,
    cost numeric not null,
    realized_pnl numeric not null,
    primary key (venue_id, account_id, symbol)
);

-- Double entry: the legs of one event and currency add up to zero. Positive is a debit.
create table ledger (
    venue_id bigint not null,
    venue_sequence bigint not null,
    leg smallint not null,
    ledger_account text not null,
    currency text not null,
    amount numeric not null,
    posted_ns bigint not null,
    primary key (venue_id, venue_sequence, leg)
);

create index ledger_by_account on ledger (venue_id, ledger_account, venue_sequence);

-- Client keys: which request each one holds, what it made, and its first result.
create table client_keys (
    venue_id bigint not null,
    account_id text not null,
    kind smallint not null,
    key text not null,
    fingerprint bytea not null,
    holder text not null,
    response bytea not null,
    primary key (venue_id, account_id, kind, key)
);
