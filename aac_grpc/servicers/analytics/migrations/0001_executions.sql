-- include: inbox

-- Money is in units of 1e-8 of the currency, time in nanoseconds since the Unix epoch.
create table executions (
    venue text not null,
    account_id text not null,
    -- Number among the account's executions.
    sequence bigint not null,
    symbol text not null,
    currency text not null,
    value bigint not null,
    realized_pnl bigint not null,
    executed_ns bigint not null,
    primary key (venue, account_id, sequence)
);

create index executions_by_time on executions (venue, account_id, executed_ns);

create table accounts (
    venue text not null,
    account_id text not null,
    currency text not null,
    primary key (venue, account_id)
);

-- Which reading of the events the tables come from; another one begins anew.
create table projection (
    single boolean primary key default true check (single),
    generation integer not null
);

insert into projection (generation) values (1);
