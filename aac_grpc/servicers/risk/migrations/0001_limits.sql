-- include: outbox
-- include: changes

create table limits (
    venue text not null,
    account_id text not null,
    -- Fields of aac.risk.v1.Limits that are set, by name.
    own jsonb not null default '{}',
    version bigint not null default 0,
    updated_at timestamptz not null default now(),
    primary key (venue, account_id)
);
